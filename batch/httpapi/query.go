package httpapi

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/tidegate/tidegate/internal/openai"
)

// query holds the parameters of a URL. Unknown ones are ignored.
type query url.Values

func parseQuery(r *http.Request) (query, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, openai.InvalidRequest("", "", "The query string of the URL could not be parsed.").WithCause(err)
	}
	return query(q), nil
}

// get returns a parameter and reports whether it is present.
func (q query) get(name string) (string, bool, error) {
	switch values := q[name]; len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", false, openai.InvalidRequest(name, "invalid_value", "Invalid '%s': it is given %d times.", name, len(values))
	}
}

// limit reads the parameter limit, from 1 to most.
func (q query) limit(preset, most int) (int, error) {
	s, ok, err := q.get("limit")
	if err != nil || !ok {
		return preset, err
	}
	n, err := parseInteger("limit", s, 1, int64(most))
	return int(n), err
}

// after parses the parameter after: an id, or "" to start at the beginning.
func (q query) after(form *regexp.Regexp) (string, error) {
	s, _, err := q.get("after")
	if err != nil {
		return "", err
	}
	if s != "" && !form.MatchString(s) {
		return "", errBadCursor()
	}
	return s, nil
}

// oneOf reads a parameter that has one of some values, "" when it is absent.
func (q query) oneOf(name string, supported ...string) (string, error) {
	s, ok, err := q.get(name)
	if err != nil || !ok {
		return "", err
	}
	if !slices.Contains(supported, s) {
		return "", openai.InvalidValue(name, clip(s), supported...)
	}
	return s, nil
}
