package several

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// laterMigration is a migration of a later version, which only adds.
const laterMigration = `
ALTER TABLE batches ADD COLUMN later_note TEXT NOT NULL DEFAULT '';
ALTER TABLE slices ADD COLUMN later_hint BIGINT;
ALTER TABLE files ADD COLUMN later_seen TIMESTAMPTZ;
CREATE INDEX batches_later ON batches (later_note) WHERE later_note <> '';
CREATE TABLE later_things (id BIGINT PRIMARY KEY);
`

// TestTwoVersions upgrades gateways one by one while batches run: a later version migrates
// the database, running gateways of this version continue, and new starts of this version
// are refused with the reason.
func TestTwoVersions(t *testing.T) {
	t.Parallel()
	const migrations = "batch/store/postgres/migrations"
	known, err := os.ReadDir(filepath.Join(tidegatetest.Root(t), migrations))
	if err != nil {
		t.Fatal(err)
	}
	later := tidegatetest.ChangedBinary(t, "tidegate-later", map[string]string{
		fmt.Sprintf("%s/%04d_later.sql", migrations, len(known)+1): laterMigration,
	})
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "100ms")
	old := s.settings(sims, inFlight)
	upgraded := old
	upgraded.Binary = later
	gateways := start(t, old, 2)
	inputs := make(map[string][]byte)
	submit := func(g *tidegatetest.Gateway, name string) (id string) {
		input := ask(t, name, lines)
		id = g.Submit(t, input).ID
		inputs[id] = input
		return id
	}
	first := submit(gateways[0], "before")
	gateways[0].WaitCompleted(t, first, 100, time.Minute)

	gateways = append(gateways, tidegatetest.Run(t, upgraded))
	tidegatetest.Eventually(t, time.Minute, "the database is migrated", func() bool { return gateways[2].Health(t).Batch.Store == "ok" })
	submit(gateways[2], "by the new one")
	submit(gateways[0], "by an old one")
	for _, g := range gateways { // all work, and each knows of all
		tidegatetest.Eventually(t, time.Minute, "the gateway has lines in flight", func() bool { return g.Health(t).Batch.InFlight > 0 })
		for id := range inputs {
			g.Batch(t, id)
		}
	}

	gateways[0].Kill(t)
	gateways[0].Launch(t)
	if code := gateways[0].Wait(t); code == 0 || !strings.Contains(gateways[0].Log(t), "written by a newer version") {
		t.Errorf("the old version ended with %d on the new schema", code)
	}
	gateways[1].Stop(t)
	gateways = append(gateways, tidegatetest.Run(t, upgraded))
	for id, input := range inputs {
		g := gateways[2+len(id)%2]
		b := g.WaitEnd(t, id, 2*time.Minute)
		g.Results(t, b, input)
		if b.Status != "completed" || b.RequestCounts != (openai.RequestCounts{Total: lines, Completed: lines}) {
			t.Errorf("%s is %s with %+v", id, b.Status, b.RequestCounts)
		}
	}
	if distinct, again := repeated(t, sims); distinct != int64(len(inputs)*lines) || again > inFlight {
		t.Errorf("%d different requests, %d calls repeated by a kill with at most %d lines in flight", distinct, again, inFlight)
	}
	if slices.ContainsFunc(gateways[1:], func(g *tidegatetest.Gateway) bool { return strings.Contains(g.Log(t), "SQLSTATE") }) {
		t.Error("a statement failed")
	}
}
