package web

// germanServer are the texts of the pages about the server itself.
func germanServer() map[string]string {
	return map[string]string{}
}
