package store

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tidegate/tidegate/batch"
)

func migrationFiles(names ...string) fstest.MapFS {
	files := fstest.MapFS{"migrations/README.md": {}}
	for _, n := range names {
		files["migrations/"+n] = &fstest.MapFile{Data: []byte("-- " + n)}
	}
	return files
}

func TestMigrations(t *testing.T) {
	steps, err := Migrations(migrationFiles("0002_more.sql", "0001_initial.sql", "0003_most.sql"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Migration{{1, "0001_initial.sql", "-- 0001_initial.sql"}, {2, "0002_more.sql", "-- 0002_more.sql"}, {3, "0003_most.sql", "-- 0003_most.sql"}}
	if len(steps) != 3 || steps[0] != want[0] || steps[1] != want[1] || steps[2] != want[2] {
		t.Errorf("got steps %+v", steps)
	}
	for have, left := range []int{3, 2, 1, 0} {
		missing, err := Missing(steps, have)
		if err != nil || len(missing) != left || left > 0 && missing[0].Version != have+1 {
			t.Errorf("version %d lacks %+v, %v", have, missing, err)
		}
	}
	_, err = Missing(steps, 4)
	if !errors.Is(err, batch.ErrNewerSchema) || !strings.Contains(err.Error(), "version 4") || !strings.Contains(err.Error(), "up to 3") {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestMigrationsOutOfOrder(t *testing.T) {
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0001_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"first.sql"}} {
		if _, err := Migrations(migrationFiles(names...)); err == nil {
			t.Errorf("%v is in order", names)
		}
	}
}
