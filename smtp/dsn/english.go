package dsn

func english() phrases {
	return phrases{
		from: "Mail Delivery System",
		subject: map[Action]string{
			Failed:    "Not delivered",
			Delayed:   "Not delivered yet",
			Delivered: "Delivered",
			Relayed:   "Passed on",
			Expanded:  "Passed on to a list",
		},
		intro: "The mail system at %s has news of a message that you sent. It writes this by itself.",
		about: "Subject:",
		sent:  "Received:",
		group: map[Action]string{
			Failed:    "The message could NOT be delivered to:",
			Delayed:   "The message has NOT YET been delivered to:",
			Delivered: "The message is in the mailbox of:",
			Relayed:   "The message was passed on, to a mail system that does not confirm delivery, for:",
			Expanded:  "The message was passed on to all members of:",
		},
		goesOn:  "This is only a warning. Delivery will be tried again until %s.",
		waiting: "This is only a warning. Delivery will be tried again.",
		resend:  "You need not send the message again.",

		wroteTo:  "(you wrote to %s)",
		gaveUp:   "It was tried again and again, and has now been given up.",
		said:     "The server %s answered:",
		weSay:    "In the words of this server:",
		ourWords: true,
		reason:   "Why:",
		todo:     "What you can do:",
		details:  "Details for your administrator are in the next part.",
		returned: "Your message is in the last part.",
		headers:  "The header of your message is in the last part.",
		dateForm: "2 January 2006, 15:04 (-07:00)",
		hints:    englishHints(),
	}
}

func englishHints() map[trouble]hint {
	const admin = "If this should not be so, show this report to your administrator."
	return map[trouble]hint{
		noMailbox:      {"There is no such mailbox.", "Check the address for mistakes, in the part before the @ above all, and send the message again."},
		noDomain:       {"The domain does not exist, or it takes no mail.", "Check the part of the address after the @, and send the message again."},
		badAddress:     {"The address is not written as an address must be.", "Check the address, and send the message again."},
		moved:          {"The mailbox has moved, and nobody knows where to.", "Ask the recipient for the new address."},
		badSender:      {"Your own address was not accepted as that of a sender.", "Check the address in the settings of your mail program, or ask your administrator."},
		disabled:       {"The mailbox exists but takes no messages.", "Reach the recipient in another way."},
		full:           {"The mailbox is full.", "Ask the recipient, in another way, to make room; then send the message again."},
		tooLarge:       {"The message is too large.", "Send it without its attachments or with smaller ones."},
		unreachable:    {"The recipient's server could not be reached.", "Send the message again later, or reach the recipient in another way."},
		noRoute:        {"It could not be found out which server the message must go to.", "Send the message again later. " + admin},
		busy:           {"The recipient's server was too busy or out of order.", "Send the message again later."},
		loop:           {"The message ran in a circle between servers.", "Show this report to your administrator, or to that of the recipient."},
		tooMany:        {"The message had too many recipients.", "Send it to fewer recipients at a time."},
		notTrusted:     {"The recipient's server does not believe that the message comes from your domain.", "Show this report to your administrator: SPF, DKIM, DMARC or the name of the server is not in order."},
		addressRefused: {"The address was not accepted.", "Check the address, and send the message again."},
		misunderstood:  {"The servers did not understand each other.", "Show this report to your administrator."},
		badForm:        {"The recipient's server cannot handle a message of this form.", "Send it as plain text, or without attachments."},
		badHeader:      {"The recipient's server is an old one, and the message has letters that could not be changed for it: in its header, or under a signature.", "Write the subject and the names in plain letters (a to z), or send the message unsigned."},
		needsUTF8:      {"The address has letters that the recipient's server cannot handle.", "Ask the recipient for an address in plain letters (a to z)."},
		refused:        {"The message was refused by a rule of the recipient's server.", admin},
		unknown:        {"", "The answer of the server should tell why. " + admin},
	}
}
