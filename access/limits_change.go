package access

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/internal/limitname"
	"github.com/tidegate/tidegate/internal/money"
)

// LimitsChange has new values of some limits, by their names. The value 0 removes a limit.
type LimitsChange map[string]int64

// ParseLimitsChange parses the members of a JSON object. The values 0 and null remove a
// limit.
func ParseLimitsChange(members map[string]json.RawMessage) (LimitsChange, error) {
	change := make(LimitsChange, len(members))
	for name, value := range members {
		text := string(value)
		if text == "null" {
			text = ""
		}
		if err := change.Set(name, text); err != nil {
			return nil, err
		}
	}
	return change, nil
}

// Set adds a limit with its value as it is configured. The values 0 and "" remove it.
func (c LimitsChange) Set(name, text string) error {
	for _, f := range new(Limits).Fields() {
		if f.Name != name {
			continue
		}
		if amount, err := money.Parse(text); text != "" && (err != nil || amount != 0) {
			if err := f.Parse(text); err != nil {
				return fmt.Errorf("%w, or 0 for no limit", err)
			}
		}
		c[name] = *f.Value
		return nil
	}
	names := make([]string, len(limitname.All))
	for i, n := range limitname.All {
		names[i] = n.Word
	}
	return fmt.Errorf("%.40q is not a limit; limits are: %s", name, strings.Join(names, ", "))
}

// Apply returns l with the new values.
func (c LimitsChange) Apply(l Limits) Limits {
	for _, f := range l.Fields() {
		if value, ok := c[f.Name]; ok {
			*f.Value = value
		}
	}
	return l
}
