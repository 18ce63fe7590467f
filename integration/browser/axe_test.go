package browser

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

//go:embed testdata/axe/axe.min.js
var axe string

// violation is a finding of axe-core (https://github.com/dequelabs/axe-core/blob/develop/doc/API.md).
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// findings returns the findings of axe-core on the open page, with only one chart, because
// each has a thousand shapes. axe-core is run through the developer tools, to which the
// content security policy does not apply.
func (p *tab) findings() []violation {
	p.Helper()
	evaluate[bool](p, axe+";true")
	text := evaluate[string](p,
		`axe.run({exclude: [['.chart:not(:first-child) svg']]}, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => JSON.stringify(r.violations))`,
		chromedp.EvalAwaitPromise)
	var all []violation
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		p.Fatal(err)
	}
	return all
}

// accessible fails the test if axe-core finds anything serious or critical on the
// page that is open.
func (p *tab) accessible(name string) {
	p.Helper()
	for _, v := range p.findings() {
		for _, n := range v.Nodes {
			if v.Impact == "serious" || v.Impact == "critical" {
				p.Errorf("%s: %s (%s): %s\n%s\n%s", name, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
			} else {
				p.Logf("%s: %s (%s): %s\n%s", name, v.ID, v.Impact, v.Help, n.HTML)
			}
		}
	}
}

// TestAccessible has axe-core look at every kind of page, in both themes and widths,
// with a table open.
func TestAccessible(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.Keep(13)
	for _, l := range []looks{desktop, phone, desktop.inDark(), phone.inDark()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := enter(t, h, l)
			p.simple()
			for _, page := range h.kinds() {
				p.look(h, page)
				evaluate[int](p, `Array.from(document.querySelectorAll('details')).slice(0, 1).forEach(d => { d.open = true }), 0`)
				p.accessible(page.name)
			}
		})
	}
}

// TestVendored holds axe-core against its checksum.
func TestVendored(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("testdata/axe/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if !strings.HasPrefix(string(sums), hex.EncodeToString(sum[:])+" ") {
		t.Error("axe.min.js differs from the vendored version")
	}
}
