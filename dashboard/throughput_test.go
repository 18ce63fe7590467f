package dashboard_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
)

// told are the buckets of a gateway that did a little.
type told struct {
	buckets []dashboard.Bucket
	since   time.Time
}

func (t told) Series(context.Context, dashboard.SeriesQuery) (dashboard.Series, error) {
	return dashboard.Series{Since: t.since, Buckets: t.buckets}, nil
}

// words is the text of an element.
func words(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// Totals, averages and peaks are those of requests and of tokens in and out, for
// each class and for both.
func TestTotals(t *testing.T) {
	at := func(clock string, live, batch templates.Work) dashboard.Bucket {
		start, err := time.Parse(time.RFC3339, "2026-11-23T"+clock+":00Z")
		if err != nil {
			t.Fatal(err)
		}
		return dashboard.Bucket{Start: start, Live: live, Batch: batch}
	}
	h := build(t, nil, func(c *dashboard.Config) {
		c.Source.Throughput = told{buckets: []dashboard.Bucket{
			at("09:00", templates.Work{Requests: 100, Failures: 2, InputTokens: 3000, OutputTokens: 200, CachedTokens: 1500}, templates.Work{Requests: 50, InputTokens: 40, OutputTokens: 9000}),
			at("10:00", templates.Work{Requests: 300, InputTokens: 1000, OutputTokens: 400}, templates.Work{Requests: 20, InputTokens: 5000, OutputTokens: 80}),
		}}
	})
	want := map[string]string{
		"Class": "Class Requests Failed Tokens in of them cached Tokens out Peak requests Peak in Peak out",
		"Live": "Live 400 <0.01 per s 2 0.5 % 4,000 0.05 per s 38 % 600 0.01 per s " +
			"300 Mon Nov 23 10:00–10:15 3,000 Mon Nov 23 09:00–09:15 400 Mon Nov 23 10:00–10:15",
		"Batch": "Batch 70 <0.01 per s 0 0 % 5,040 0.06 per s 0 % 9,080 0.11 per s " +
			"50 Mon Nov 23 09:00–09:15 5,000 Mon Nov 23 10:00–10:15 9,000 Mon Nov 23 09:00–09:15",
		"Both": "Both 470 0.01 per s 2 0.4 % 9,040 0.11 per s 17 % 9,680 0.11 per s " +
			"320 Mon Nov 23 10:00–10:15 6,000 Mon Nov 23 10:00–10:15 9,200 Mon Nov 23 09:00–09:15",
	}
	walk(parse(t, h.page("/throughput")), func(n *html.Node) {
		if n.Data != "tr" {
			return
		}
		row := words(n)
		name, _, _ := strings.Cut(row, " ")
		if text, ok := want[name]; ok {
			if row != text {
				t.Errorf("%s:\n%s, want\n%s", name, row, text)
			}
			delete(want, name)
		}
	})
	if len(want) > 0 {
		t.Errorf("the page has no %v", want)
	}
}

// Averages are over the time that there was a gateway, and not over the whole
// span.
func TestAveragesOfAYoungGateway(t *testing.T) {
	bucket := dashboard.Bucket{Start: moment.Truncate(15 * time.Minute), Live: templates.Work{Requests: 840}}
	for _, c := range []struct {
		name  string
		since time.Time
		want  string
	}{
		{"seven minutes old", moment.Add(-7 * time.Minute), "Live 840 2.00 per s"},
		{"older than the span", moment.Add(-48 * time.Hour), "Live 840 0.01 per s"},
		{"not told", time.Time{}, "Live 840 0.01 per s"},
	} {
		h := build(t, nil, func(cfg *dashboard.Config) {
			cfg.Source.Throughput = told{buckets: []dashboard.Bucket{bucket}, since: c.since}
		})
		row := ""
		walk(parse(t, h.page("/throughput")), func(n *html.Node) {
			if text := words(n); n.Data == "tr" && strings.HasPrefix(text, "Live ") {
				row = text
			}
		})
		if !strings.HasPrefix(row, c.want) {
			t.Errorf("%s: %q, want %q", c.name, row, c.want)
		}
	}
}
