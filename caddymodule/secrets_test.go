package caddymodule

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func keyFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// One text may be several keys, wherever it comes from. One that is none is refused,
// unless it may be missing.
func TestKeysOfValues(t *testing.T) {
	file := keyFile(t, "one\ntwo, three\n")
	t.Setenv("MANY", " one,two  three,\tfour ,")
	t.Setenv("BLANK", " ")
	t.Setenv("ELSEWHERE", "{file."+file+"} zero")
	separators := keyFile(t, ",\n,\n")
	t.Setenv("COMMA", ",")
	t.Setenv("COMMAS", " ,, ,\n")
	t.Setenv("FILE_OF_COMMAS", "{file."+separators+"}")
	t.Setenv("FILE_OF_COMMAS_AND_KEY", "one {file."+separators+"}")
	t.Setenv("VARIABLE_UNSET", "{env.MISSING}")
	t.Setenv("VARIABLE_OPTIONAL", "{env.MISSING:}")
	for name, tt := range map[string]struct {
		values  []string
		want    []string
		refused string
	}{
		"words":                        {[]string{"one", "two"}, []string{"one", "two"}, ""},
		"commas":                       {[]string{"one,two"}, []string{"one", "two"}, ""},
		"variable":                     {[]string{"{env.MANY}"}, []string{"one", "two", "three", "four"}, ""},
		"variable, optional":           {[]string{"{env.MANY:}"}, []string{"one", "two", "three", "four"}, ""},
		"file":                         {[]string{"{file." + file + "}"}, []string{"one", "two", "three"}, ""},
		"file of a variable":           {[]string{"{env.ELSEWHERE:}", "x"}, []string{"one", "two", "three", "zero", "x"}, ""},
		"fallback":                     {[]string{"{env.MISSING:one,two}"}, []string{"one", "two"}, ""},
		"none":                         {nil, nil, ""},
		"may be missing":               {[]string{"{env.MISSING:}", "{env.BLANK:}"}, nil, ""},
		"missing":                      {[]string{"{env.MISSING}"}, nil, "the environment variable MISSING is not set"},
		"blank":                        {[]string{"{env.BLANK}"}, nil, "BLANK is not set"},
		"missing beside one":           {[]string{"one", "{env.MISSING}"}, nil, "MISSING"},
		"empty":                        {[]string{""}, nil, "a key is empty"},
		"commas alone":                 {[]string{" , "}, nil, "a key is empty"},
		"comma in a variable":          {[]string{"{env.COMMA:}"}, nil, "COMMA contains no key"},
		"commas in a variable":         {[]string{"{env.COMMAS:}"}, nil, "COMMAS contains no key"},
		"comma, not optional":          {[]string{"{env.COMMA}"}, nil, "COMMA contains no key"},
		"comma beside a key":           {[]string{"one", "{env.COMMA:}"}, nil, "COMMA contains no key"},
		"comma as fallback":            {[]string{"{env.MISSING:,}"}, nil, "MISSING contains no key"},
		"commas in a file":             {[]string{"{file." + separators + "}"}, nil, separators + " contains no key"},
		"commas in a variable's file":  {[]string{"{env.FILE_OF_COMMAS:}"}, nil, separators + " contains no key"},
		"commas in a file, and a key":  {[]string{"{env.FILE_OF_COMMAS_AND_KEY:}"}, nil, separators + " contains no key"},
		"unset variable in a variable": {[]string{"{env.VARIABLE_UNSET:}"}, nil, "a key is empty"},
		"optional one in a variable":   {[]string{"{env.VARIABLE_OPTIONAL:}"}, nil, "a key is empty"},
		"missing file":                 {[]string{"{file./nowhere/key}"}, nil, "/nowhere/key"},
		"empty file":                   {[]string{"{file." + keyFile(t, " \n") + "}"}, nil, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&secrets{replacer: caddy.NewReplacer()}).keys(tt.values)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %q, %v, want an error about %s", got, err, tt.refused)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// The URL of a driver may stand in a variable, alone or behind the driver's name,
// and in a file.
func TestURLOfDriver(t *testing.T) {
	const url = "postgres://u:p@db/t?sslmode=require"
	file := keyFile(t, url+"\n")
	t.Setenv("ALONE", url)
	t.Setenv("NAMED", "postgres "+url)
	t.Setenv("BLOCK", "postgres "+url+" {\n max_conns 4\n}")
	t.Setenv("IN_FILE", "postgres {file."+file+"}")
	t.Setenv("PASSWORD", "p")
	for _, value := range []string{url, "{env.ALONE}", "{env.NAMED}", "{env.NAMED:sqlite}", "{env.BLOCK:sqlite}", "{env.IN_FILE}", "{file." + file + "}", "postgres://u:{env.PASSWORD}@db/t?sslmode=require"} {
		if got, err := (&secrets{replacer: caddy.NewReplacer()}).url("postgres", value); err != nil || got != url {
			t.Errorf("%s: got %q, %v, want %q", value, got, err, url)
		}
	}
	if _, err := (&secrets{replacer: caddy.NewReplacer()}).url("postgres", "{file./nowhere/url}"); err == nil {
		t.Error("a file that is missing is no error")
	}
}
