package admin

import (
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
)

// ASCIINote says who cannot write to a mailbox whose name has other than ASCII letters, and what to
// do; "" for a name of ASCII letters.
func ASCIINote(box addr.Address) string {
	if box.IsASCII() {
		return ""
	}
	text := fmt.Sprintf("programs and servers without SMTPUTF8, such as Outlook Express, cannot write to %s; ", box)
	plain := asciiName(box)
	if plain.IsZero() {
		return text + "use a name of ASCII letters, and 'pillarbox admin mailbox name' for the name as people write it"
	}
	return text + fmt.Sprintf("use %s ('pillarbox admin mailbox rename %s %[1]s' renames the mailbox), "+
		"and 'pillarbox admin mailbox name %[1]s NAME' for the name as people write it", plain, box)
}

// asciiName returns an address in ASCII letters that resembles a; the zero address if there is none.
func asciiName(a addr.Address) addr.Address {
	local := strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "æ", "ae", "ø", "oe", "å", "aa",
		"à", "a", "á", "a", "â", "a", "ç", "c", "č", "c", "è", "e", "é", "e", "ê", "e", "ë", "e", "í", "i", "î", "i",
		"ł", "l", "ñ", "n", "ó", "o", "ô", "o", "š", "s", "ú", "u", "ž", "z").Replace(a.Fold().Local)
	plain := addr.Address{Local: local, Domain: a.Domain}
	if !plain.IsASCII() || addr.CheckMailboxName(local) != nil {
		return addr.Address{}
	}
	return plain
}
