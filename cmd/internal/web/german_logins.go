package web

// germanLogins are the texts of app passwords and the second factor.
func germanLogins() map[string]string {
	return map[string]string{}
}
