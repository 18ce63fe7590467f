package httpapi

import (
	"errors"
	"mime"
	"net/url"
	"strings"
)

// disposition is the Content-Disposition of a part of a form.
type disposition struct {
	name     string
	filename string
	isFile   bool // it has a filename, perhaps an empty one
}

var (
	errNotFormData = errors.New("it is not form-data")
	errOpenQuote   = errors.New("a quote is not closed")
	errTwiceGiven  = errors.New("a parameter is given twice")
)

// parseDisposition parses the Content-Disposition of a part (RFC 7578, 4.2). It also
// accepts headers of clients that violate the grammar: unquoted values with spaces or
// non-ASCII letters, filename* (RFC 5987) in UTF-8 and ISO-8859-1, and encoded words (RFC
// 2047) as the name of a file.
func parseDisposition(header string) (disposition, error) {
	kind, params, err := mime.ParseMediaType(header)
	if err != nil || params["filename"] == "" {
		kind, params, err = looseParams(header)
	}
	if err != nil {
		return disposition{}, err
	}
	if kind != "form-data" {
		return disposition{}, errNotFormData
	}
	d := disposition{name: params["name"]}
	d.filename, d.isFile = params["filename"]
	if decoded, err := new(mime.WordDecoder).DecodeHeader(d.filename); err == nil {
		d.filename = decoded
	}
	return d, nil
}

// looseParams splits a header into its value and its parameters, whose names
// become lower case. A value without quotes reaches to the next semicolon.
func looseParams(header string) (string, map[string]string, error) {
	kind, rest, _ := strings.Cut(header, ";")
	params := make(map[string]string)
	var extended string
	for rest != "" {
		var key, value string
		semicolon := strings.IndexByte(rest, ';')
		equals := strings.IndexByte(rest, '=')
		if equals < 0 || semicolon >= 0 && semicolon < equals { // no parameter
			if semicolon < 0 {
				break
			}
			rest = rest[semicolon+1:]
			continue
		}
		key, rest = strings.ToLower(strings.TrimSpace(rest[:equals])), strings.TrimLeft(rest[equals+1:], " \t")
		if strings.HasPrefix(rest, `"`) {
			var ok bool
			if value, rest, ok = quoted(rest); !ok {
				return "", nil, errOpenQuote
			}
			_, rest, _ = strings.Cut(rest, ";")
		} else {
			value, rest, _ = strings.Cut(rest, ";")
			value = strings.TrimSpace(value)
		}
		if key == "filename*" {
			extended = value
			continue
		}
		if _, twice := params[key]; twice {
			return "", nil, errTwiceGiven
		}
		params[key] = value
	}
	if name, ok := extendedValue(extended); ok {
		params["filename"] = name
	}
	return strings.ToLower(strings.TrimSpace(kind)), params, nil
}

// quoted reads the quoted string that s begins with. A backslash is kept unless
// it is before a quote or another one, as in the paths that old browsers send.
func quoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// extendedValue decodes a value as in UTF-8'en'na%C3%AFve (RFC 5987, 3.2).
func extendedValue(s string) (string, bool) {
	charset, rest, ok := strings.Cut(s, "'")
	_, text, hasLanguage := strings.Cut(rest, "'")
	if !ok || !hasLanguage {
		return "", false
	}
	text, err := url.PathUnescape(text)
	if err != nil {
		return "", false
	}
	switch strings.ToLower(charset) {
	case "utf-8", "us-ascii":
		return text, true
	case "iso-8859-1":
		runes := make([]rune, len(text))
		for i := range len(text) {
			runes[i] = rune(text[i])
		}
		return string(runes), true
	}
	return "", false
}
