package dsn

func german() phrases {
	return phrases{
		from: "E-Mail-Zustellsystem",
		subject: map[Action]string{
			Failed:    "Nicht zugestellt",
			Delayed:   "Noch nicht zugestellt",
			Delivered: "Zugestellt",
			Relayed:   "Weitergegeben",
			Expanded:  "An eine Liste weitergegeben",
		},
		intro: "Das E-Mail-System auf %s berichtet hier über eine Nachricht, die Sie gesendet haben. Dieser Bericht wurde automatisch erstellt.",
		about: "Betreff:",
		sent:  "Eingegangen:",
		group: map[Action]string{
			Failed:    "Die Nachricht konnte NICHT zugestellt werden an:",
			Delayed:   "Die Nachricht ist NOCH NICHT zugestellt an:",
			Delivered: "Die Nachricht liegt im Postfach von:",
			Relayed:   "Die Nachricht wurde an ein E-Mail-System weitergegeben, das die Zustellung nicht bestätigt, für:",
			Expanded:  "Die Nachricht wurde weitergegeben an alle Mitglieder von:",
		},
		goesOn:  "Dies ist nur eine Warnung. Die Zustellung wird weiter versucht bis %s.",
		waiting: "Dies ist nur eine Warnung. Die Zustellung wird weiter versucht.",
		resend:  "Sie müssen die Nachricht nicht noch einmal senden.",

		wroteTo:  "(Sie schrieben an %s)",
		gaveUp:   "Die Zustellung wurde mehrfach versucht und ist nun aufgegeben.",
		said:     "Der Server %s antwortete:",
		weSay:    "Meldung dieses Servers:",
		reason:   "Grund:",
		todo:     "Was Sie tun können:",
		details:  "Einzelheiten für Ihren Administrator stehen im nächsten Teil.",
		returned: "Ihre Nachricht steht im letzten Teil.",
		headers:  "Die Kopfzeilen Ihrer Nachricht stehen im letzten Teil.",
		dateForm: "02.01.2006, 15:04 Uhr (-07:00)",
		hints:    germanHints(),
	}
}

func germanHints() map[trouble]hint {
	const admin = "Falls das nicht so sein sollte, zeigen Sie diesen Bericht Ihrem Administrator."
	return map[trouble]hint{
		noMailbox:      {"Dieses Postfach gibt es nicht.", "Prüfen Sie die Adresse auf Tippfehler, vor allem den Teil vor dem @, und senden Sie die Nachricht noch einmal."},
		noDomain:       {"Die Domain gibt es nicht, oder sie nimmt keine E-Mail an.", "Prüfen Sie den Teil der Adresse nach dem @, und senden Sie die Nachricht noch einmal."},
		badAddress:     {"Die Adresse ist nicht so geschrieben, wie eine Adresse sein muss.", "Prüfen Sie die Adresse, und senden Sie die Nachricht noch einmal."},
		moved:          {"Das Postfach ist umgezogen, wohin, ist nicht bekannt.", "Fragen Sie den Empfänger nach seiner neuen Adresse."},
		badSender:      {"Ihre eigene Adresse wurde als Absender nicht angenommen.", "Prüfen Sie die Adresse in den Einstellungen Ihres E-Mail-Programms, oder fragen Sie Ihren Administrator."},
		disabled:       {"Das Postfach nimmt keine Nachrichten an.", "Erreichen Sie den Empfänger auf anderem Weg."},
		full:           {"Das Postfach ist voll.", "Bitten Sie den Empfänger auf anderem Weg, Platz zu schaffen; senden Sie die Nachricht dann noch einmal."},
		tooLarge:       {"Die Nachricht ist zu groß.", "Senden Sie sie ohne Anhänge oder mit kleineren."},
		unreachable:    {"Der Server des Empfängers war nicht zu erreichen.", "Senden Sie die Nachricht später noch einmal, oder erreichen Sie den Empfänger auf anderem Weg."},
		noRoute:        {"Es war nicht herauszufinden, welcher Server die Nachricht bekommen muss.", "Senden Sie die Nachricht später noch einmal. " + admin},
		busy:           {"Der Server des Empfängers war überlastet oder gestört.", "Senden Sie die Nachricht später noch einmal."},
		loop:           {"Die Nachricht lief zwischen Servern im Kreis.", "Zeigen Sie diesen Bericht Ihrem Administrator oder dem des Empfängers."},
		tooMany:        {"Die Nachricht hatte zu viele Empfänger.", "Senden Sie sie an weniger Empfänger auf einmal."},
		notTrusted:     {"Der Server des Empfängers glaubt nicht, dass die Nachricht aus Ihrer Domain kommt.", "Zeigen Sie diesen Bericht Ihrem Administrator: SPF, DKIM, DMARC oder der Name des Servers ist nicht in Ordnung."},
		addressRefused: {"Die Adresse wurde nicht angenommen.", "Prüfen Sie die Adresse, und senden Sie die Nachricht noch einmal."},
		misunderstood:  {"Die Server haben einander nicht verstanden.", "Zeigen Sie diesen Bericht Ihrem Administrator."},
		badForm:        {"Der Server des Empfängers kann mit einer Nachricht dieser Form nicht umgehen.", "Senden Sie sie als reinen Text oder ohne Anhänge."},
		badHeader:      {"Der Server des Empfängers ist alt, und die Nachricht hat Zeichen, die für ihn nicht umgewandelt werden konnten: im Kopf oder unter einer Signatur.", "Schreiben Sie Betreff und Namen ohne Umlaute, oder senden Sie die Nachricht unsigniert."},
		needsUTF8:      {"Die Adresse hat Zeichen, mit denen der Server des Empfängers nicht umgehen kann.", "Bitten Sie den Empfänger um eine Adresse ohne Umlaute."},
		refused:        {"Die Nachricht wurde nach einer Regel des Servers des Empfängers abgelehnt.", admin},
		unknown:        {"", "Den Grund sollte die Antwort des Servers nennen. " + admin},
	}
}
