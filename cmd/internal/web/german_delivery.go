package web

// germanDelivery are the texts of what a user lets the server do with mail.
func germanDelivery() map[string]string {
	return map[string]string{}
}
