package dsn

// trouble is a kind of failure. Kinds with different advice for the sender are separate.
type trouble int

const (
	unknown trouble = iota
	noMailbox
	noDomain
	badAddress
	moved
	badSender
	addressRefused
	disabled
	full
	tooLarge
	unreachable
	noRoute
	busy
	loop
	tooMany
	misunderstood
	badForm
	badHeader
	needsUTF8
	notTrusted
	refused
)

// hint explains a trouble and says what the sender can do.
type hint struct{ meaning, advice string }

// troubleOf maps an enhanced status code (RFC 3463 and the registry of RFC 5248) to a trouble.
func troubleOf(status [3]int) trouble {
	switch detail := status[2]; status[1] {
	case 1:
		return addressTrouble(detail)
	case 2:
		return mailboxTrouble(detail)
	case 3:
		return systemTrouble(detail)
	case 4:
		return networkTrouble(detail)
	case 5:
		if detail == 3 {
			return tooMany
		}
		return misunderstood
	case 6:
		return formTrouble(detail)
	case 7:
		if 20 <= detail && detail <= 27 {
			return notTrusted
		}
		return refused
	}
	return unknown
}

func formTrouble(detail int) trouble {
	switch detail {
	case 3:
		return badHeader
	case 7:
		return needsUTF8
	}
	return badForm
}

func addressTrouble(detail int) trouble {
	switch detail {
	case 1:
		return noMailbox
	case 2, 10:
		return noDomain
	case 3:
		return badAddress
	case 6:
		return moved
	case 7, 8:
		return badSender
	}
	return addressRefused
}

func mailboxTrouble(detail int) trouble {
	switch detail {
	case 1:
		return disabled
	case 2:
		return full
	case 3:
		return tooLarge
	}
	return unknown
}

func systemTrouble(detail int) trouble {
	switch detail {
	case 1, 2:
		return busy
	case 4:
		return tooLarge
	}
	return unknown
}

func networkTrouble(detail int) trouble {
	switch detail {
	case 3:
		return noRoute
	case 4:
		return noDomain
	case 5:
		return busy
	case 6:
		return loop
	}
	return unreachable
}
