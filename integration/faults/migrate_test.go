package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// laterMigration is a migration of a later version, in SQL for both stores.
const laterMigration = `
ALTER TABLE batches ADD COLUMN later_note TEXT NOT NULL DEFAULT '';
CREATE TABLE later_things (id BIGINT PRIMARY KEY);
CREATE INDEX batches_later ON batches (later_note);
`

// migrating is added to the migrations of a driver and fails once at the point in
// TIDEGATE_FAILPOINTS.
const migrating = `package %s

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func migrating(when string) error {
	switch os.Getenv("TIDEGATE_FAILPOINTS") {
	case when + "=crash":
		fmt.Fprintln(os.Stderr, "failpoint "+when)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case when + "=error":
		fmt.Fprintln(os.Stderr, "failpoint "+when)
		return errors.Join(errors.New("failed on purpose"), os.Unsetenv("TIDEGATE_FAILPOINTS"))
	}
	return nil
}
`

// laterVersion is a build with one more migration, which can fail at each of its
// steps: before it begins, when the schema is changed, and when its version is
// noted.
func laterVersion(t *testing.T) string {
	files := make(map[string]string)
	for driver, edits := range map[string][3]string{
		"sqlite":   {"		if _, err := t.ExecContext(ctx, m.SQL); err != nil {", "		_, err := t.ExecContext(ctx, `INSERT INTO schema_migrations", "m.Name, err)\n\t\t}\n"},
		"postgres": {"	if _, err := t.Exec(ctx, m.SQL); err != nil {", "	_, err := t.Exec(ctx, `INSERT INTO schema_migrations", "m.Name, err)\n\t\t\t}\n"},
	} {
		dir := "batch/store/" + driver
		known, err := os.ReadDir(filepath.Join(tidegatetest.Root(t), dir, "migrations"))
		if err != nil {
			t.Fatal(err)
		}
		code, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), dir, "migrate.go"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(code)
		for i, at := range edits {
			if strings.Count(text, at) != 1 {
				t.Fatalf("%s has %d times %q", driver, strings.Count(text, at), at)
			}
			call := fmt.Sprintf("if err := migrating(%q); err != nil {\nreturn err\n}\n", []string{"before", "changed", "noted"}[i])
			if i == 2 {
				text = strings.Replace(text, at, at+call, 1)
			} else {
				text = strings.Replace(text, at, call+at, 1)
			}
		}
		files[dir+"/migrate.go"] = text
		files[dir+"/migrating.go"] = fmt.Sprintf(migrating, driver)
		files[fmt.Sprintf("%s/migrations/%04d_later.sql", dir, len(known)+1)] = laterMigration
	}
	return tidegatetest.ChangedBinary(t, "tidegate-migrating", files)
}

// TestMigrationFails injects a fault into the migration at an upgrade. Either the migration
// has no effect, and the previous version continues, or it is complete; the next start
// continues in both cases, no line is lost, and only lines in flight run again.
func TestMigrationFails(t *testing.T) {
	t.Parallel()
	later := laterVersion(t)
	for _, kind := range []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.Postgres} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			servers := tidegatetest.StartServers(t, kind)
			sims := tidegatetest.StartSims(t, 2, "--ttft", "20ms")
			for _, point := range []string{"before=crash", "before=error", "changed=crash", "changed=error", "noted=crash", "noted=error"} {
				t.Run(point, func(t *testing.T) {
					t.Parallel()
					b := servers.NewBackend(t)
					d := day{t: t, name: string(kind) + "-" + point, sims: sims, backend: b}
					d.gateway = tidegatetest.Persist(t, tidegatetest.Settings{
						Sims: sims, App: b.App(), Env: []string{"TIDEGATE_FAILPOINTS=" + point},
						Batch: fmt.Sprintf("max_in_flight %d\n lease 1s\n retry_backoff 10ms 20ms", inFlight),
					})
					// SQLite commits each migration separately, PostgreSQL all in one transaction.
					d.upgrade(later, point, kind == tidegatetest.SQLite && strings.HasPrefix(point, "noted"))
				})
			}
		})
	}
}

// upgrade is a day in which a later version starts in the middle of a batch, and its
// migration fails. applied is set if the migration was committed.
func (d *day) upgrade(later, point string, applied bool) {
	t, g := d.t, d.gateway
	const lines = 150
	whole, before := d.input("whole", lines), d.input("before", 10)
	beforeID := g.Submit(t, before).ID
	g.WaitEnd(t, beforeID, time.Minute)
	wholeID := g.Submit(t, whole).ID
	g.WaitCompleted(t, wholeID, 20, time.Minute)

	g.Kill(t)
	g.Use(later)
	g.Launch(t)
	place, _, _ := strings.Cut(point, "=")
	if !tidegatetest.Poll(time.Minute, func() bool { return strings.Contains(g.Log(t), "failpoint "+place+"\n") }) {
		t.Fatal("it never came to that")
	}
	g.Kill(t) // it may still run and retry
	g.Unset("TIDEGATE_FAILPOINTS")

	if applied {
		d.refused()
	} else {
		g.Use(tidegatetest.Binary(t))
		g.Launch(t)
		g.Batch(t, wholeID)
		g.Kill(t)
	}

	g.Use(later)
	g.Launch(t)
	b := g.WaitEnd(t, wholeID, time.Minute)
	if g.Results(t, b, whole); b.Status != "completed" || b.RequestCounts != (openai.RequestCounts{Total: lines, Completed: lines}) {
		t.Errorf("the batch ended as %s, %+v", b.Status, b.RequestCounts)
	}
	g.Results(t, g.Batch(t, beforeID), before)
	const kills = 3
	if again := d.repeated(lines); again > kills*inFlight {
		t.Errorf("%d calls were made again after %d kills with %d lines in flight", again, kills, inFlight)
	}
	g.Kill(t)
	d.refused()
}

// refused checks that this version exits because a later version migrated the database.
func (d *day) refused() {
	d.t.Helper()
	from := len(d.gateway.Log(d.t))
	d.gateway.Use(tidegatetest.Binary(d.t))
	d.gateway.Launch(d.t)
	if code := d.gateway.Wait(d.t); code == 0 || !strings.Contains(d.gateway.Log(d.t)[from:], "written by a newer version") {
		d.t.Errorf("the version before ended with %d on the new schema", code)
	}
}
