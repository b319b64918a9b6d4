package web

// germanSetup are the texts of DNS records, imports and settings of mail programs.
func germanSetup() map[string]string {
	return map[string]string{}
}
