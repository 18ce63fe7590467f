package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate/internal/openai"
)

// params are the members of a JSON object that a client sent. Unknown members are
// ignored: newer clients may send them.
type params struct {
	prefix  string // of names in errors: "metadata." and the like
	members map[string]jsontext.Value
}

// parseParams reads the members of a body.
func parseParams(body []byte) (params, error) {
	v := jsontext.Value(body)
	if !v.IsValid() {
		return params{}, openai.InvalidRequest("", "", "We could not parse the JSON body of your request. It must be one JSON object in UTF-8, without duplicate keys.")
	}
	if v.Kind() != '{' {
		return params{}, openai.InvalidRequest("", "invalid_type", "Invalid type for the body: expected an object, but got %s instead.", kindOf(v))
	}
	return objectParams("", v)
}

func objectParams(prefix string, v jsontext.Value) (params, error) {
	p := params{prefix: prefix}
	if err := json.Unmarshal(v, &p.members); err != nil { // v is a valid object
		return params{}, fmt.Errorf("reading members of a valid object: %w", err)
	}
	return p, nil
}

// get returns a member that is present and not null.
func (p params) get(name string) (jsontext.Value, bool) {
	v, ok := p.members[name]
	return v, ok && v.Kind() != 'n'
}

// object returns the members of an optional object; false when it is absent.
func (p params) object(name string) (params, bool, error) {
	v, ok := p.get(name)
	if !ok {
		return params{}, false, nil
	}
	if v.Kind() != '{' {
		return params{}, false, openai.InvalidType(p.prefix+name, "an object", kindOf(v))
	}
	o, err := objectParams(p.prefix+name+".", v)
	return o, true, err
}

// text returns a required string of 1 to limit characters.
func (p params) text(name string, limit int) (string, error) {
	v, ok := p.get(name)
	if !ok {
		return "", openai.MissingParameter(p.prefix + name)
	}
	s, err := textOf(p.prefix+name, v)
	switch {
	case err != nil:
		return "", err
	case s == "":
		return "", openai.MissingParameter(p.prefix + name)
	case utf8.RuneCountInString(s) > limit:
		return "", tooLong(p.prefix+name, limit, utf8.RuneCountInString(s))
	}
	return s, nil
}

func textOf(param string, v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", openai.InvalidType(param, "a string", kindOf(v))
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil { // v is a valid string
		return "", fmt.Errorf("reading a valid string: %w", err)
	}
	if strings.ContainsRune(s, 0) { // SQL databases cannot store it
		return "", openai.InvalidRequest(param, "invalid_value", "Invalid '%s': it must not contain the character U+0000.", param)
	}
	return s, nil
}

// integer returns a required integer from low to high.
func (p params) integer(name string, low, high int64) (int64, error) {
	param := p.prefix + name
	v, ok := p.get(name)
	if !ok {
		return 0, openai.MissingParameter(param)
	}
	if kind := kindOf(v); kind != kindInteger {
		return 0, openai.InvalidType(param, kindInteger, kind)
	}
	return parseInteger(param, string(v), low, high)
}

// parseInteger reads an integer from low to high. Its error names param.
func parseInteger(param, s string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64) // the nearest int64 when out of range
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, openai.InvalidType(param, kindInteger, "a string")
	case n > high:
		return 0, openai.InvalidRequest(param, "integer_above_max_value", "Invalid '%s': integer above maximum value. Expected a value <= %d, but got %s instead.", param, high, shorten(s))
	case n < low:
		return 0, openai.InvalidRequest(param, "integer_below_min_value", "Invalid '%s': integer below minimum value. Expected a value >= %d, but got %s instead.", param, low, shorten(s))
	}
	return n, nil
}

// elements returns the elements of an array that is not empty.
func elements(param string, v jsontext.Value) ([]jsontext.Value, error) {
	if v.Kind() != '[' {
		return nil, openai.InvalidType(param, "an array", kindOf(v))
	}
	var values []jsontext.Value
	if err := json.Unmarshal(v, &values); err != nil { // v is a valid array
		return nil, fmt.Errorf("reading elements of a valid array: %w", err)
	}
	if len(values) == 0 {
		return nil, openai.InvalidRequest(param, "empty_array", "Invalid '%s': empty array. Expected an array with minimum length 1, but got an empty array instead.", param)
	}
	return values, nil
}

// texts returns a required array of at least one string, all distinct.
func (p params) texts(name string) ([]string, error) {
	v, ok := p.get(name)
	if !ok {
		return nil, openai.MissingParameter(p.prefix + name)
	}
	values, err := elements(p.prefix+name, v)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(values))
	texts := make([]string, len(values))
	for i, v := range values {
		param := fmt.Sprintf("%s%s[%d]", p.prefix, name, i)
		if texts[i], err = textOf(param, v); err != nil {
			return nil, err
		}
		if seen[texts[i]] {
			return nil, openai.InvalidRequest(param, "invalid_value", "Invalid '%s': '%s' is duplicated.", param, shorten(texts[i]))
		}
		seen[texts[i]] = true
	}
	return texts, nil
}

// The bounds of expires_after and output_expires_after, in seconds.
const (
	minTTL = 3600
	maxTTL = 2592000
)

// ttl reads an optional {anchor, seconds}; 0 when it is absent.
func (p params) ttl(name string) (time.Duration, error) {
	o, ok, err := p.object(name)
	if err != nil || !ok {
		return 0, err
	}
	anchor, err := o.text("anchor", 64)
	if err != nil {
		return 0, err
	}
	if err := checkAnchor(o.prefix+"anchor", anchor); err != nil {
		return 0, err
	}
	seconds, err := o.integer("seconds", minTTL, maxTTL)
	return time.Duration(seconds) * time.Second, err
}

func checkAnchor(param, anchor string) error {
	if anchor != "created_at" {
		return openai.InvalidValue(param, shorten(anchor), "created_at")
	}
	return nil
}

// parseExpiry reads the form fields expires_after[anchor] and
// expires_after[seconds].
func parseExpiry(anchor, seconds string) (time.Duration, error) {
	const name = "expires_after"
	switch {
	case anchor == "":
		return 0, openai.MissingParameter(name + "[anchor]")
	case seconds == "":
		return 0, openai.MissingParameter(name + "[seconds]")
	}
	if err := checkAnchor(name+"[anchor]", anchor); err != nil {
		return 0, err
	}
	n, err := parseInteger(name+"[seconds]", seconds, minTTL, maxTTL)
	return time.Duration(n) * time.Second, err
}

// parseExpiryJSON reads expires_after as a JSON object.
func parseExpiryJSON(value []byte) (time.Duration, error) {
	v := jsontext.Value(value)
	if !v.IsValid() {
		return 0, openai.InvalidType("expires_after", "an object", "a string")
	}
	return params{members: map[string]jsontext.Value{"expires_after": v}}.ttl("expires_after")
}

// parsePurpose checks the purpose of a file to be uploaded.
func parsePurpose(purpose string) error {
	if purpose == "" {
		return openai.MissingParameter("purpose")
	}
	if !slices.Contains(openai.UploadPurposes, purpose) {
		return openai.InvalidValue("purpose", shorten(purpose), openai.UploadPurposes...)
	}
	return nil
}

func tooLong(param string, limit, got int) *openai.Error {
	return openai.InvalidRequest(param, "string_above_max_length",
		"Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", shorten(param), limit, got)
}

const kindInteger = "an integer"

// kindOf names the type of a valid value, with its article.
func kindOf(v jsontext.Value) string {
	switch v.Kind() {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	if strings.ContainsAny(string(v), ".eE") {
		return "a decimal"
	}
	return kindInteger
}

// shorten cuts a value from a client to a length fit for a message.
func shorten(s string) string {
	const limit = 100
	if utf8.RuneCountInString(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return string([]rune(s)[:limit]) + "…"
}
