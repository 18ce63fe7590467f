package batch_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

func tokens(input, cached, output int64) openai.Usage {
	u := openai.Usage{InputTokens: input, OutputTokens: output, TotalTokens: input + output}
	u.InputTokensDetails.CachedTokens = cached
	return u
}

func rate(t *testing.T, text string) batch.Rate {
	t.Helper()
	r, err := batch.ParseRate(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCharge(t *testing.T) {
	prices := &batch.Prices{Currency: "EUR", BatchDiscount: 500, Models: map[string]batch.ModelPrice{
		"m":     {Input: rate(t, "0.5"), CachedInput: rate(t, "0.05"), Output: rate(t, "1.5")},
		"fine":  {Input: rate(t, "0.000001"), CachedInput: rate(t, "0.000001"), Output: rate(t, "0.0375")},
		"dear":  {Input: batch.MaxRate, CachedInput: batch.MaxRate, Output: batch.MaxRate},
		"gift":  {},
		"embed": {Input: rate(t, "0.1"), CachedInput: rate(t, "0.1")},
	}}
	withDefault := &batch.Prices{Currency: "EUR", Models: map[string]batch.ModelPrice{batch.AnyModel: {Input: rate(t, "2")}, "m": {Input: rate(t, "1")}}}
	for name, tt := range map[string]struct {
		prices *batch.Prices
		class  string
		model  string
		usage  openai.Usage
		want   batch.Charge
	}{
		"live":                        {prices, "live", "m", tokens(1000, 0, 100), batch.Charge{Cost: 650_000}},
		"batch":                       {prices, "batch", "m", tokens(1000, 0, 100), batch.Charge{Cost: 325_000}},
		"cached":                      {prices, "live", "m", tokens(1000, 800, 100), batch.Charge{Cost: 290_000}},
		"cached more than there is":   {prices, "live", "m", tokens(10, 800, 0), batch.Charge{Cost: 500}},
		"negative counts":             {prices, "live", "m", tokens(-5, -5, 2), batch.Charge{Cost: 3000}},
		"no tokens":                   {prices, "live", "m", tokens(0, 0, 0), batch.Charge{}},
		"no tokens, no price":         {prices, "live", "x", tokens(0, 0, 0), batch.Charge{}},
		"half a unit is rounded up":   {prices, "live", "fine", tokens(500, 0, 0), batch.Charge{Cost: 1}},
		"less is rounded down":        {prices, "live", "fine", tokens(499, 0, 0), batch.Charge{}},
		"a part of a nano-unit":       {prices, "batch", "fine", tokens(0, 0, 4), batch.Charge{Cost: 75}},
		"free":                        {prices, "live", "gift", tokens(10, 0, 10), batch.Charge{}},
		"without output":              {prices, "live", "embed", tokens(10, 0, 0), batch.Charge{Cost: 1000}},
		"no price":                    {prices, "live", "x", tokens(1, 0, 1), batch.Charge{Unpriced: true}},
		"no prices":                   {nil, "live", "m", tokens(1, 0, 1), batch.Charge{Unpriced: true}},
		"price of all others":         {withDefault, "batch", "x", tokens(3, 0, 1), batch.Charge{Cost: 6000}},
		"own price before all others": {withDefault, "batch", "m", tokens(3, 0, 1), batch.Charge{Cost: 3000}},
		"absurd counts": {
			prices, "live", "dear", tokens(math.MaxInt64, math.MaxInt64, math.MaxInt64),
			batch.Charge{Cost: math.MaxInt64},
		},
		"the largest that fits": {prices, "live", "dear", tokens(9_223_372_036, 0, 0), batch.Charge{Cost: 9_223_372_036_000_000_000}},
		"one more":              {prices, "live", "dear", tokens(9_223_372_037, 0, 0), batch.Charge{Cost: math.MaxInt64}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.prices.Charge(tt.class, tt.model, tt.usage); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDecimals(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "1": "1", "007": "7", "0.5": "0.5", "0.500000": "0.5", "0.000001": "0.000001", "12.345678": "12.345678", "1000000": "1000000",
		"": "", ".5": "", "5.": "", "-1": "", "+1": "", "1e3": "", "0.0000001": "", "1000000.000001": "", "1,5": "", "NaN": "", "٣": "", "99999999999999999999": "",
	} {
		r, err := batch.ParseRate(text)
		got := r.String()
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("ParseRate(%q) is %q (%v), want %q", text, got, err, want)
		}
	}
	for amount, want := range map[batch.Money]string{
		0: "0", 1: "0.000000001", 1_500_000_000: "1.5", -25_000_000: "-0.025", math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		text, err := json.Marshal(amount)
		if err != nil || string(text) != want || !json.Valid(text) {
			t.Errorf("%d is written as %s (%v), want %s", amount, text, err, want)
		}
	}
	if got := batch.Money(math.MaxInt64 - 1).Plus(2); got != math.MaxInt64 {
		t.Errorf("the sum is %d, want the largest amount", got)
	}
}

func TestUsageCSV(t *testing.T) {
	names := map[string]string{"k1": `=HYPERLINK("http://x")`, "k2": "a,b \"c\""}
	report := batch.UsageReport{Rows: []batch.UsageRow{
		{KeyID: "k1", Model: "@m", Requests: 3, Failures: 1, InputTokens: 10, CachedTokens: 4, OutputTokens: 5, Cost: 1_250_000_000, Unpriced: 2, Estimated: 3},
		{KeyID: "k2", Model: "+m"},
		{KeyID: "-1+1", Model: " =1"},
		{KeyID: "", Model: "org/model-7b"},
	}}
	var b strings.Builder
	q := batch.UsageTableQuery{UsageQuery: batch.UsageQuery{By: batch.UsageGroup{Key: true, Model: true}}}
	table := batch.NewUsageTable(q, report, names, "EUR")
	if err := table.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"key_id,key_name,model,requests,failed_requests,input_tokens,cached_input_tokens,output_tokens,total_tokens,cost,currency,unpriced_requests,estimated_requests",
		`k1,"'=HYPERLINK(""http://x"")",'@m,3,1,10,4,5,15,1.25,EUR,2,3`,
		`k2,"a,b ""c""",'+m,0,0,0,0,0,0,0,EUR,0,0`,
		`'-1+1,,' =1,0,0,0,0,0,0,0,EUR,0,0`,
		`,,org/model-7b,0,0,0,0,0,0,0,EUR,0,0`,
		"",
	}, "\r\n")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
}
