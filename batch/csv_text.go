package batch

import "strings"

// CSVText returns a text of a client for a cell of a CSV table. A text that a spreadsheet
// would evaluate as a formula begins with an apostrophe
// (https://owasp.org/www-community/attacks/CSV_Injection).
func CSVText(text string) string {
	first := strings.TrimLeft(text, " ")
	if first != "" && strings.IndexByte("'=+-@\t\r\n|%", first[0]) >= 0 {
		return "'" + text
	}
	return text
}
