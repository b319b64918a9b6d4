package collect

import (
	"errors"
	"strconv"
	"strings"
)

// listed is a message at the server.
type listed struct {
	number int
	size   int64  // octets, as the server counts them; -1: not said
	uid    string // "": not said, or the same as another's
}

// list asks what there is, in the server's order. tracked is false for a server without UIDL.
func (c *conn) list() (all []listed, tracked bool, err error) {
	_, err = c.command("LIST")
	if r, refused := errors.AsType[*refusal](err); refused {
		return nil, false, &Error{Class: ErrProtocol, Text: "the server does not list the mailbox: " + r.text}
	} else if err != nil {
		return nil, false, err
	}
	place := map[int]int{} // of a number in all
	err = c.lines(func(line string) {
		number, text, ok := listLine(line)
		if _, twice := place[number]; !ok || twice || len(all) >= maxMessages {
			return
		}
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil || size < 0 {
			size = -1
		}
		place[number] = len(all)
		all = append(all, listed{number: number, size: size})
	})
	if err != nil {
		return nil, false, err
	}
	tracked, err = c.identify(all, place)
	return all, tracked, err
}

// identify asks for the unique-ids.
func (c *conn) identify(all []listed, place map[int]int) (tracked bool, err error) {
	_, err = c.command("UIDL")
	if _, refused := errors.AsType[*refusal](err); refused {
		return false, nil
	} else if err != nil {
		return false, err
	}
	taken := map[string]bool{}
	return true, c.lines(func(line string) {
		number, uid, ok := listLine(line)
		i, listed := place[number]
		if !ok || !listed || !isUID(uid) || taken[uid] {
			return
		}
		taken[uid] = true
		all[i].uid = uid
	})
}

// listLine reads "1 120" and "1 whqtswO00WBw418f9t5JxYwZ"; what follows is ignored.
func listLine(line string) (number int, text string, ok bool) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return 0, "", false
	}
	number, err := strconv.Atoi(words[0])
	return number, words[1], err == nil && number > 0
}

// isUID reports whether a unique-id is one, or longer only than RFC 1939 §7 allows.
func isUID(uid string) bool {
	for _, c := range []byte(uid) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return len(uid) <= 255
}
