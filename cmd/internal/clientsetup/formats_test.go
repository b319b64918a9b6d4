package clientsetup

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"
)

func facts() Facts {
	return Facts{Settings: Settings{
		Server: "mail.office.example", User: "anna@office.example", CA: "AB:CD",
		Incoming: []Service{{"POP3", 995, "SSL/TLS", nil}, {"POP3", 110, "STARTTLS", nil}},
		Outgoing: []Service{{"SMTP", 465, "SSL/TLS", nil}, {"SMTP", 587, "STARTTLS", nil}},
	}, Name: "Anna Öz", Root: []byte("certificate")}
}

// TestFiles compares each format with its file in testdata.
func TestFiles(t *testing.T) {
	for _, program := range append(Programs(), "autodiscover", "reg") {
		f := facts()
		var file File
		var err error
		switch program {
		case "autodiscover":
			file, err = f.Autodiscover()
		case "reg":
			file, err = Render("outlook-express", true, f)
		default:
			file, err = Render(program, false, f)
		}
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		golden := filepath.Join("testdata", program+".golden")
		if os.Getenv("UPDATE_GOLDEN") != "" {
			os.WriteFile(golden, file.Body, 0o644)
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(file.Body, want) {
			t.Errorf("%s: %v\n%s", program, err, file.Body)
		}
	}
}

// readIAF reads an account file by its layout: a head of 12 octets, then records.
func readIAF(b []byte) (map[uint32]any, error) {
	if len(b) < 12 || string(b[:4]) != "fMAI" {
		return nil, errors.New("no account file")
	}
	all := map[uint32]any{}
	for b = b[12:]; len(b) > 0; {
		if len(b) < 8 {
			return nil, errors.New("a record is cut off")
		}
		id, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if b = b[8:]; uint64(n) > uint64(len(b)) || all[id] != nil {
			return nil, fmt.Errorf("record %08X", id)
		}
		value := b[:n]
		switch b = b[n:]; id & 0xFFFF {
		case 0x3F0:
			text, ended := bytes.CutSuffix(value, []byte{0})
			if !ended || bytes.IndexByte(text, 0) >= 0 {
				return nil, fmt.Errorf("text %08X", id)
			}
			all[id] = string(text)
		case 0x3E9, 0x3F5:
			if n != 4 {
				return nil, fmt.Errorf("number %08X", id)
			}
			all[id] = binary.LittleEndian.Uint32(value)
		default:
			return nil, fmt.Errorf("type of %08X", id)
		}
	}
	return all, nil
}

// readReg reads a registry file: one section of quoted names, texts and dwords.
func readReg(b []byte) (map[string]string, error) {
	text, ok := strings.CutPrefix(string(b), "REGEDIT4\r\n\r\n")
	if !ok {
		units := make([]uint16, (len(b)-2)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2+2*i:])
		}
		if text, ok = strings.CutPrefix(string(utf16.Decode(units)),
			"Windows Registry Editor Version 5.00\r\n\r\n"); !ok {
			return nil, errors.New("no head")
		}
	}
	all := map[string]string{}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if n == 0 {
			if !strings.HasPrefix(line, `[HKEY_CURRENT_USER\Software\`) || !strings.HasSuffix(line, "]") {
				return nil, errors.New(line)
			}
			continue
		}
		name, rest, err := quoted(line)
		value, ok := strings.CutPrefix(rest, "=dword:")
		if !ok && err == nil {
			if value, rest, err = quoted(strings.TrimPrefix(rest, "=")); rest != "" {
				return nil, errors.New(line)
			}
		}
		if err != nil {
			return nil, err
		}
		all[name] = value
	}
	return all, nil
}

// quoted returns the text between quotes at the begin of s, and what follows it.
func quoted(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", errors.New("no quote: " + s)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
			if i == len(s) {
				return "", "", errors.New("open: " + s)
			}
			text += s[i : i+1]
		case '"':
			return text, s[i+1:], nil
		default:
			text += s[i : i+1]
		}
	}
	return "", "", errors.New("open: " + s)
}

// TestReadBack reads the files of Outlook Express with readers of the formats.
func TestReadBack(t *testing.T) {
	for _, name := range []string{"Anna", "Anna Öz", `"Anna" \ [x] = ; <&>`, "日本"} {
		f := facts()
		f.Name = name
		file, err := Render("outlook-express", true, f)
		if err != nil {
			t.Fatal(err)
		}
		reg, err := readReg(file.Body)
		if err != nil || reg["SMTP Display Name"] != name || reg["POP3 User Name"] != f.User ||
			reg["POP3 Port"] != "000003e3" || reg["SMTP Use Sicily"] != "00000002" {
			t.Errorf("%q: %v %v", name, err, reg)
		}
		if file, err = Render("outlook-express", false, f); err != nil {
			t.Fatal(err)
		}
		iaf, err := readIAF(file.Body)
		if err != nil || iaf[0x143003F0] != string(ansi(name)) || iaf[0x13C503F0] != f.User ||
			iaf[0x13C903E9] != uint32(995) || iaf[0x142E03F5] != uint32(1) {
			t.Errorf("%q: %v %v", name, err, iaf)
		}
	}
}

// TestHostile: no name or password can break out of its place, and lines cannot be made.
func TestHostile(t *testing.T) {
	const evil = `</string><key>x</key>"\"]]><!--&amp;`
	f := facts()
	f.Name, f.Password = evil, evil
	for _, program := range []string{"apple", "thunderbird"} {
		file, err := Render(program, false, f)
		if err != nil {
			t.Fatal(err)
		}
		dec, texts := xml.NewDecoder(bytes.NewReader(file.Body)), 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", program, err)
			}
			if text, ok := token.(xml.CharData); ok && string(text) == evil {
				texts++
			}
		}
		if want := map[string]int{"apple": 2, "thunderbird": 0}[program]; texts != want {
			t.Errorf("%s: the text is there %d times, want %d", program, texts, want)
		}
	}
	for _, bad := range []string{"a\nb", "a\r\n[x]", "a\x00b", "\x1b[31m", strings.Repeat("x", 400)} {
		f := facts()
		f.Name = bad
		for _, program := range Programs() {
			if _, err := Render(program, false, f); err == nil {
				t.Errorf("%s takes the name %q", program, bad)
			}
		}
	}
}

// TestPassword: a password is only in the formats that are said to have it.
func TestPassword(t *testing.T) {
	has := map[string]bool{"apple": true, "printer": true, "text": true, "windows-mail": true}
	f := facts()
	f.Password = "swordfish"
	for _, program := range Programs() {
		file, err := Render(program, false, f)
		if err != nil || bytes.Contains(file.Body, []byte(f.Password)) != has[program] {
			t.Errorf("%s: %v", program, err)
		}
	}
}

// TestChoice: a program gets only a service that it can use.
func TestChoice(t *testing.T) {
	f := facts()
	f.Outgoing = []Service{{"SMTP", 587, "STARTTLS", nil}}
	if _, err := Render("outlook-express", false, f); err == nil {
		t.Error("Outlook Express would begin TLS at once at port 587")
	}
	f.Outgoing = []Service{{"SMTP", 587, "STARTTLS", nil}, {"SMTP", 25, "STARTTLS", nil}}
	file, err := Render("outlook-express", false, f)
	if err != nil {
		t.Fatal(err)
	}
	if iaf, err := readIAF(file.Body); err != nil || iaf[0x142D03E9] != uint32(25) {
		t.Errorf("%v %v", err, iaf)
	}
	f.Incoming = nil
	if _, err := Render("text", false, f); err == nil {
		t.Error("a server without POP3 has settings")
	}
	if _, err := Render("printer", false, f); err != nil {
		t.Error(err)
	}
	if _, err := Render("pine", false, f); err == nil || !strings.Contains(err.Error(), "thunderbird") {
		t.Error(err)
	}
}

func TestAutodiscoverJSON(t *testing.T) {
	body, ok := AutodiscoverJSON("mail.office.example", "autodiscoverV1")
	const want = `{"Protocol":"AutodiscoverV1",` +
		`"Url":"https://mail.office.example/autodiscover/autodiscover.xml"}`
	if !ok || string(body) != want {
		t.Errorf("%s", body)
	}
	if body, ok := AutodiscoverJSON("mail.office.example", "ActiveSync"); ok ||
		!strings.Contains(string(body), "InvalidProtocol") {
		t.Errorf("%s", body)
	}
}

// TestSignedProfile: what is signed is the profile, and a signature that fails is an error.
func TestSignedProfile(t *testing.T) {
	f := facts()
	plain, err := Render("apple", false, f)
	if err != nil {
		t.Fatal(err)
	}
	f.Sign = func(body []byte) ([]byte, error) { return append([]byte("signed "), body...), nil }
	signed, err := Render("apple", false, f)
	if err != nil || string(signed.Body) != "signed "+string(plain.Body) || signed.Note == plain.Note {
		t.Errorf("%v %s", err, signed.Body)
	}
	f.Sign = func([]byte) ([]byte, error) { return nil, errors.New("no key") }
	if _, err := Render("apple", false, f); err == nil {
		t.Error("no error")
	}
}

// TestProfilesStayApart: a device takes two profiles with the same identifier for versions of one.
func TestProfilesStayApart(t *testing.T) {
	ids := map[string]string{}
	for _, user := range []string{"anna@office.example", "carl@office.example", "anna@branch.example"} {
		for range 2 {
			f := facts()
			f.User = user
			file, err := Render("apple", false, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range regexp.MustCompile(`<key>Payload(?:UUID|Identifier)</key><string>([^<]*)`).FindAllStringSubmatch(string(file.Body), -1) {
				if of, ok := ids[id[1]]; ok && of != user {
					t.Errorf("%s is of %s and of %s", id[1], of, user)
				}
				ids[id[1]] = user
			}
		}
	}
	if len(ids) != 3*2*3 { // each part of a profile has two, and both profiles of an address the same
		t.Errorf("%d identifiers", len(ids))
	}
}
