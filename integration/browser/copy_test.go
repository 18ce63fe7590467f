package browser

import (
	"strings"
	"testing"
)

// TestCopy copies an answer and a folded prompt of a line: exactly as they are
// in the file. Without JavaScript the rest of a text can be unfolded, and no
// button is shown that does nothing.
func TestCopy(t *testing.T) {
	t.Parallel()
	const asked = "Summarize the ticket in two sentences."
	long := asked + "\n  " + strings.Repeat("<b>Again</b> & again.\n\n", 200) + "End"
	for _, l := range []looks{desktop, phone.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, func(plain string) string {
				if plain == asked {
					return long
				}
				return plain
			})
			p := enter(t, h, l)
			p.visit(h.url + "/batches/" + h.IDs()[9] + "/lines/3")
			p.narrow("a line with a long prompt")
			p.shoot("line-long")
			const shown = `getComputedStyle(document.querySelector('[data-copy]')).display !== 'none'`
			if got := evaluate[bool](p, shown); got != l.script {
				t.Errorf("copy buttons shown: %v, want %v", got, l.script)
			}
			p.press("#prompt-0 summary")
			p.until(`document.querySelector('#prompt-0 details').open`)
			if l.script {
				evaluate[bool](p, `(navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() }, true)`)
				for id, want := range map[string]string{
					"prompt-0": long, "answer-0": "The customer cannot log in since the update.",
					"raw-result": evaluate[string](p, `document.getElementById('raw-result').textContent`),
				} {
					p.press(`[data-copy="` + id + `"]`)
					p.until(`document.querySelector('[data-copy="` + id + `"] [data-says]').textContent === 'Copied'`)
					if got := evaluate[string](p, `window.copied`); got != want {
						t.Errorf("%s: copied %.80q (%d bytes), want %.80q (%d bytes)", id, got, len(got), want, len(want))
					}
				}
				p.accessible("a line")
			}
			p.quiet()
		})
	}
}
