package access

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// It finds a limit that the struct has and Fields has not, or under another name than in the
// API: it could not be configured, changed or shown.
func TestFieldsAreAllLimits(t *testing.T) {
	var l Limits
	fields, all := l.Fields(), reflect.TypeFor[Limits]()
	if len(fields) != all.NumField() {
		t.Fatalf("got %d fields, want %d", len(fields), all.NumField())
	}
	for i, f := range fields {
		tag, _, _ := strings.Cut(all.Field(i).Tag.Get("json"), ",")
		if f.Value == nil || f.Name != tag || f.Value != reflect.ValueOf(&l).Elem().Field(i).Addr().Convert(reflect.TypeFor[*int64]()).Interface() {
			t.Errorf("field %d: got %s, want %s and its value", i, f.Name, tag)
		}
	}
}

// It finds a change that drops limits which it does not name, a zero that does not remove,
// and values or names that are accepted and then lost.
func TestLimitsChange(t *testing.T) {
	before := Limits{RequestsPerMinute: 60, TokensPerMinute: 1000, CostPerMonth: 5}
	for object, want := range map[string]Limits{
		`{"requests_per_minute":6}`:                             {RequestsPerMinute: 6, TokensPerMinute: 1000, CostPerMonth: 5},
		`{"requests_per_minute":0}`:                             {TokensPerMinute: 1000, CostPerMonth: 5},
		`{"tokens_per_minute":null}`:                            {RequestsPerMinute: 60, CostPerMonth: 5},
		`{"cost_per_month":0.00}`:                               {RequestsPerMinute: 60, TokensPerMinute: 1000},
		`{"cost_per_month":0.5}`:                                {RequestsPerMinute: 60, TokensPerMinute: 1000, CostPerMonth: 500_000_000},
		`{"lines_queued":1000000000000, "tokens_per_minute":0}`: {RequestsPerMinute: 60, LinesQueued: MaxLimit, CostPerMonth: 5},
		`{}`: before,
	} {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(object), &members); err != nil {
			t.Fatal(err)
		}
		change, err := ParseLimitsChange(members)
		if err != nil {
			t.Errorf("%s: %v", object, err)
			continue
		}
		if got := change.Apply(before); got != want {
			t.Errorf("%s: got %+v, want %+v", object, got, want)
		}
	}
	for object, want := range map[string]string{
		`{"rpm":1}`:                            `"rpm" is not a limit; limits are: requests_per_minute, `,
		`{"Requests_per_minute":1}`:            "is not a limit",
		`{"requests_per_minute":-1}`:           "or 0 for no limit",
		`{"requests_per_minute":1.5}`:          "whole number",
		`{"requests_per_minute":1e3}`:          "whole number",
		`{"requests_per_minute":"60"}`:         "whole number",
		`{"requests_per_minute":[1]}`:          "whole number",
		`{"requests_per_minute":true}`:         "whole number",
		`{"lines_queued":1000000000001}`:       "whole number from 1 to 1000000000000",
		`{"lines_queued":9223372036854775808}`: "whole number",
		`{"lines_queued":18446744073709551616000000000000000000000000000000000000}`: "whole number",
		`{"cost_per_month":1000000000.000000001}`:                                   "amount up to 1000000000",
		`{"cost_per_month":99999999999999999999}`:                                   "amount",
		`{"cost_per_month":0.0000000001}`:                                           "nine decimals",
	} {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(object), &members); err != nil {
			t.Fatal(err)
		}
		if change, err := ParseLimitsChange(members); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%s: got %v and %v, want an error with %q", object, change, err, want)
		}
	}
}
