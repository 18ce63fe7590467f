package store

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/batch"
)

// Migration is one step of a driver's schema. Steps are never changed or removed.
type Migration struct {
	Version   int
	Name, SQL string
}

// Migrations returns the steps in migrations/*.sql in order. The number at the
// beginning of a file name is its version.
func Migrations(files fs.FS) ([]Migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	steps := make([]Migration, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		base := path.Base(name)
		number, _, _ := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", base, i+1)
		}
		steps[i] = Migration{version, base, string(text)}
	}
	return steps, nil
}

// Missing returns the steps that a schema with this version lacks. It returns
// batch.ErrNewerSchema if the version is higher than that of the last step.
func Missing(steps []Migration, version int) ([]Migration, error) {
	if version > len(steps) {
		return nil, fmt.Errorf("%w: its schema is version %d, this program knows up to %d", batch.ErrNewerSchema, version, len(steps))
	}
	return steps[version:], nil
}
