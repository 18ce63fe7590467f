package dashboard_test

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// TestEmpty: pages of a gateway that was never used show the next step, with a
// line or a command to copy.
func TestEmpty(t *testing.T) {
	h := build(t, nil)
	h.Clear()
	for path, wants := range map[string][]string{
		"/batches":   {`href="/dashboard/new"`, "tidegate batch submit", `"model":"`},
		"/files":     {`href="/dashboard/new"`, `"model":"MODEL"`},
		"/new":       {`"model":"MODEL"`},
		"/":          {"No upstream is configured", "upstream http://", `href="/dashboard/new"`},
		"/upstreams": {"tidegate serve --upstream URL"},
		"/wall":      {"No upstream is configured"},
	} {
		page := h.page(path)
		inspect(t, path, page)
		text := words(parse(t, page))
		for _, want := range wants {
			if !strings.Contains(text, want) && !strings.Contains(page, want) {
				t.Errorf("%s does not show %s", path, want)
			}
		}
	}
	// With servers the sample line is one that they would take.
	samples := 0
	walk(parse(t, build(t, nil).page("/new")), func(n *html.Node) {
		if name, _ := attribute(n, "aria-label"); name != "Sample line" {
			return
		}
		samples++
		var line struct {
			CustomID, Method, URL string
			Body                  struct{ Model string }
		}
		if err := json.Unmarshal([]byte(n.FirstChild.Data), &line); err != nil || line.Method != "POST" || line.URL != "/v1/chat/completions" || line.Body.Model != "meta-llama/Llama-3.3-70B-Instruct" {
			t.Errorf("the sample line is %+v, %v", line, err)
		}
	})
	if samples != 1 {
		t.Errorf("%d sample lines on the page of a new batch, want 1", samples)
	}
}

// TestSeconds: events of a batch and problems have their seconds.
func TestSeconds(t *testing.T) {
	h := build(t, nil)
	if got := byID(t, h.page("/batches/"+h.IDs()[9]), "live-timeline"); !strings.Contains(got, "06:05:09") && !strings.Contains(got, "05:05:09") {
		t.Errorf("the timeline is %q, want seconds", got)
	}
	if got := byID(t, h.page("/"), "live-problems"); !strings.Contains(got, "since 13:54:09") {
		t.Errorf("problems are %q, want seconds", got)
	}
}
