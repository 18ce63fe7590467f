package faults

import (
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// laterCalls are calls that first occur in an upload or its validation; later ones are made
// by the scheduler and then by the finalizer, which writes the three files of results.
var laterCalls = []struct {
	call        string
	first, last int
}{
	{"files.Read", 2, 2},
	{"files.Create", 2, 4},
	{"files.Write", 2, 4},
	{"files.Commit", 2, 4},
	{"files.Abort", 2, 4},
}

// TestFinalizerFails injects a fault at each step of writing the results of a batch: they
// must be written once, and only lines in flight may run again.
func TestFinalizerFails(t *testing.T) {
	t.Parallel()
	for _, kind := range []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.PostgresRedisS3} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			servers := tidegatetest.StartServers(t, kind, "max_connections=400")
			sims := tidegatetest.StartSims(t, 2, "--ttft", "20ms")
			for _, c := range laterCalls {
				for nth := c.first; nth <= c.last; nth++ {
					fail(t, servers, sims, c.call, nth, (*day).end)
				}
			}
		})
	}
}

// end is a day with only one batch, which has completed and failed lines.
func (d *day) end() {
	const lines, refused = 20, 4
	input := tidegatetest.BatchInput(d.t, lines, func(i int) string {
		prompt := "sim-id:" + d.id("whole", i)
		if i%(lines/refused) == 1 {
			prompt += " [[sim:status=400]]"
		}
		return prompt
	})
	b := d.gateway.Submit(d.t, input)
	b = d.gateway.WaitEnd(d.t, b.ID, *patience)
	r := d.gateway.Results(d.t, b, input)
	want := openai.RequestCounts{Total: lines, Completed: lines - refused, Failed: refused}
	if b.Status != "completed" || b.RequestCounts != want || len(r.Output) != lines-refused || len(r.Errors) != refused {
		d.t.Errorf("the batch ended as %s, %+v, with %d and %d results", b.Status, b.RequestCounts, len(r.Output), len(r.Errors))
	}
	d.calls(lines)
	// The third file is the index, from which the lines are shown.
	d.ask(http.MethodGet, "/dashboard/batches/"+b.ID+"/lines", http.StatusOK)
}
