package collect

import (
	"errors"
	"strconv"
	"strings"
)

// listed is a message that the server lists.
type listed struct {
	number int
	size   int64  // octets, as the server counts them; -1 if it does not say
	uid    string // the unique-id; "" if missing, invalid or not unique
}

// list returns the messages in the server's order. tracked is false if the server has no UIDL.
func (c *conn) list() (all []listed, tracked bool, err error) {
	_, err = c.command("LIST")
	if r, refused := errors.AsType[*refusal](err); refused {
		text := "the server refuses to list the mailbox: " + r.text
		return nil, false, &Error{Class: ErrProtocol, Text: text}
	} else if err != nil {
		return nil, false, err
	}
	index := map[int]int{} // from message number to index in all
	err = c.lines(func(line string) {
		number, text, ok := listLine(line)
		if _, twice := index[number]; !ok || twice || len(all) >= maxMessages {
			return
		}
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil || size < 0 {
			size = -1
		}
		index[number] = len(all)
		all = append(all, listed{number: number, size: size})
	})
	if err != nil {
		return nil, false, err
	}
	tracked, err = c.identify(all, index)
	return all, tracked, err
}

// identify asks for the unique-ids and stores them in all.
func (c *conn) identify(all []listed, index map[int]int) (tracked bool, err error) {
	_, err = c.command("UIDL")
	if _, refused := errors.AsType[*refusal](err); refused {
		return false, nil
	} else if err != nil {
		return false, err
	}
	taken := map[string]bool{}
	return true, c.lines(func(line string) {
		number, uid, ok := listLine(line)
		i, listed := index[number]
		if !ok || !listed || !isUID(uid) || taken[uid] {
			return
		}
		taken[uid] = true
		all[i].uid = uid
	})
}

// listLine parses lines such as "1 120" and "1 whqtswO00WBw418f9t5JxYwZ". It ignores further words.
func listLine(line string) (number int, text string, ok bool) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return 0, "", false
	}
	number, err := strconv.Atoi(words[0])
	return number, words[1], err == nil && number > 0
}

// isUID reports whether a unique-id has valid characters. It allows 255 octets, more than the 70 of
// RFC 1939 §7.
func isUID(uid string) bool {
	for _, c := range []byte(uid) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return len(uid) <= 255
}
