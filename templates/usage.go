package templates

import (
	"cmp"
	"time"

	"github.com/a-h/templ"
)

// Usage is the model of the page of usage and cost.
type Usage struct {
	By             string // day, key, model, batch or tenant
	Month          time.Time
	Currency       string // "" without prices
	Views          []Choice
	Earlier, Later templ.SafeURL // of the months before and after; Later is "" for the current one
	CSV            templ.SafeURL
	Columns        []string // of names
	Rows           []UsageRow
	Total          UsageRow
	More           bool // there are more rows
	Limits         LimitTable
}

// LimitTable are the limits of keys and tenants, and their use now.
type LimitTable struct {
	Rows []LimitRow
	More bool // there are more keys and tenants
	All  bool // it has all tenants, for an administrator
}

func (t LimitTable) title() string {
	if t.All {
		return "Limits and their use now, all tenants"
	}
	return "Limits and their use now"
}

// LimitRow is a limit of a key or of a tenant.
type LimitRow struct {
	Tenant                  string // "" for a limit of a key
	Key, KeyName, KeyTenant string
	Name                    string
	Allowed                 string
	Used                    string  // "" if it is not known
	Part                    float64 // that is used, from 0 to 1
	Partly                  bool    // the use of earlier processes and other gateways is not known yet
	Rate                    bool    // it is renewed continuously
	Default                 bool    // the tenant has no limit of its own
	Renewed                 time.Time
}

// UsageRow is the usage of a day, key, model or batch.
type UsageRow struct {
	Names                                   []string
	Page                                    templ.SafeURL // of the batch; "" for other rows
	Requests, Failures, Unpriced, Estimated int64
	InputTokens, CachedTokens, OutputTokens int64
	Cost                                    Cost
}

func (r LimitRow) keyName() string { return cmp.Or(r.KeyName, r.Key) }

// Cost is an amount of money.
type Cost struct {
	Short  string // rounded
	Amount string // with all decimals
	Zero   bool
}

// usageViewNames are the names of the tables.
var usageViewNames = map[string]string{"day": "By day", "key": "By key", "model": "By model", "batch": "By batch", "tenant": "By tenant"}

// usageColumnNames are the titles of the columns.
var usageColumnNames = map[string]string{"day": "Day", "key_id": "Key", "key_name": "Name", "model": "Model", "class": "Class", "batch_id": "Batch", "tenant": "Tenant"}
