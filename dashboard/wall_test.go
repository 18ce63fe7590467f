package dashboard_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/dashboard"
)

func TestWall(t *testing.T) {
	h := build(t, nil)
	h.AddUpstreams(24)
	page := h.page("/wall")
	inspect(t, "wall", page)
	tiles, missed := 0, map[string]int{}
	walk(parse(t, page), func(n *html.Node) {
		class, _ := attribute(n, "class")
		switch {
		case n.Data == "li" && strings.HasPrefix(class, "tile "):
			tiles++
			if tiles == 2 {
				for _, want := range []string{"vllm-1.gpu.internal:8000", "busy", "Live 51", "Batch 0 /154", "256 slots", "920 ms", "KV 98 %", "err 3.1 %"} {
					if got := words(n); !strings.Contains(got, want) {
						t.Errorf("the second tile is %q, want %q in it", got, want)
					}
				}
			}
		case n.Data == "figure":
			id, _ := attribute(n, "id")
			walk(n, func(c *html.Node) {
				if class, _ := attribute(c, "class"); class == "hit missed" {
					missed[id]++
				}
			})
		}
	})
	if tiles != 24 {
		t.Errorf("%d tiles, want 24", tiles)
	}
	// A minute without a live stream has no time to first token; it is no 0.
	if missed["chart-ttft"] != 2 || missed["chart-slots"] != 1 || missed["chart-ended"] != 1 {
		t.Errorf("minutes that are not known: %v", missed)
	}
	if !strings.Contains(page, `sse-connect="/dashboard/events/wall"`) {
		t.Error("it is not live")
	}
	h.Clear()
	inspect(t, "wall of nothing", h.page("/wall"))
}

// TestHeader: the header and the title name the installation and the version.
func TestHeader(t *testing.T) {
	h := build(t, nil, func(c *dashboard.Config) { c.Name, c.Version = "berlin <1>", "v1.2.3" })
	page := h.page("/files")
	for _, want := range []string{"<title>Files · berlin &lt;1&gt; · Tidegate</title>", ">berlin &lt;1&gt;</span>", ">v1.2.3</span>"} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page", want)
		}
	}
	if page := build(t, nil).page("/files"); strings.Contains(page, "installation") || !strings.Contains(page, "<title>Files · Tidegate</title>") {
		t.Error("there is a name without a name")
	}
}
