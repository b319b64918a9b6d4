package web

// germanLogins are the texts of app passwords and the second factor.
func germanLogins() map[string]string {
	return map[string]string{
		"A password for one program or device. The server makes it and shows it once. It does not open this page.": "Ein Passwort für ein Programm oder Gerät. Der Server erzeugt es und zeigt es einmal. Diese Seite öffnet es nicht.",
		"App passwords":        "App-Passwörter",
		"For":                  "Für",
		"Last use":             "Zuletzt benutzt",
		"Latest logins":        "Letzte Anmeldungen",
		"Made":                 "Erzeugt",
		"Make":                 "Erzeugen",
		"Make an app password": "App-Passwort erzeugen",
		"Mechanism":            "Verfahren",
		"Program or device":    "Programm oder Gerät",
		"Remove %s":            "%s entfernen",
		"Result":               "Ergebnis",
		"There are none.":      "Es gibt keine.",
		"Time":                 "Zeit",
		"logged in":            "angemeldet",
		"reading":              "Lesen",
		"reading and sending":  "Lesen und Senden",
		"sending":              "Senden",
	}
}
