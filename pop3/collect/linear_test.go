package collect

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestMessagesLinear(t *testing.T) {
	shapes := append(mailtest.Messages(), mailtest.Headers("Received", "Message-ID", "Subject")...)
	mailtest.Linear(t, func(text string) {
		c := &conn{opts: &Options{}, pace: &paced{}, in: bufio.NewReaderSize(strings.NewReader(text+"\r\n.\r\n"), maxLine)}
		message := c.body()
		if top, err := readTop(message); err == nil {
			markOf(fieldsOf(top))
		}
		io.Copy(io.Discard, message)
		markOf(fieldsOf([]byte(text))) // longer than readTop returns
	}, shapes...)
}

func TestListingsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		listLine(text)
		isUID(text)
		c := &conn{opts: &Options{Password: "x"}}
		c.printable(text)
	}, mailtest.Values()...)
}
