package browser

import (
	"fmt"
	"testing"
)

// TestWall: 24 servers fit on a screen of 1920 by 1080 without scrolling, with
// problems above them, and the header begins and ends where the content does.
func TestWall(t *testing.T) {
	t.Parallel()
	screen := looks{name: "screen", width: 1920, height: 1080, script: true}
	small := looks{name: "small", width: 1280, height: 800, script: true}
	for _, l := range []looks{screen, small.inDark(), phone} {
		for _, servers := range []int{5, 24} {
			t.Run(fmt.Sprint(l.name, " ", servers), func(t *testing.T) {
				t.Parallel()
				h := start(t, nil)
				h.AddUpstreams(servers)
				p := enter(t, h, l)
				p.look(h, page{"wall", "/wall", 0})
				p.narrow("wall")
				p.shoot(fmt.Sprint("wall-", servers))
				if got := evaluate[int](p, `document.querySelectorAll('.tile').length`); got != servers {
					t.Errorf("%d tiles, want %d", got, servers)
				}
				if high := evaluate[int64](p, `document.documentElement.scrollHeight`); l.width == screen.width && high > l.height {
					t.Errorf("the wall is %d pixels high, want %d at most", high, l.height)
				}
				p.accessible("wall")
				for _, to := range []string{"/", "/wall", "/doctor"} {
					p.visit(h.url + to)
					edges := evaluate[[]float64](p, `(() => {
						const inside = (e, s) => { const b = e.getBoundingClientRect(), c = getComputedStyle(e); return [b.left + parseFloat(c.paddingLeft), b.right - parseFloat(c.paddingRight)] }
						return [...inside(document.querySelector('.top .within')), ...inside(document.querySelector('main'))]
					})()`)
					if edges[0] != edges[2] || edges[1] != edges[3] {
						t.Errorf("%s: header from %v to %v, content from %v to %v", to, edges[0], edges[1], edges[2], edges[3])
					}
					if to != "/wall" {
						p.settle()
						p.shoot(fmt.Sprintf("dense%s-%d", map[string]string{"/": "-overview", "/doctor": "-doctor"}[to], servers))
						t.Logf("%s with %d servers at %d: %d pixels high", to, servers, l.width, evaluate[int64](p, `document.documentElement.scrollHeight`))
					}
				}
				p.quiet()
			})
		}
	}
}
