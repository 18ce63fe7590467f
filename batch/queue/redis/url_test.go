package redis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURL(t *testing.T) {
	for raw, c := range map[string]struct {
		want  Server
		shown string
	}{
		"redis://localhost": {
			Server{Addresses: []string{"localhost:6379"}}, "redis://localhost:6379/0",
		},
		" redis://10.0.0.1:7000/5\n": {
			Server{Addresses: []string{"10.0.0.1:7000"}, Database: 5}, "redis://10.0.0.1:7000/5",
		},
		"redis://:secret@r/": {
			Server{Addresses: []string{"r:6379"}, Password: "secret"}, "redis://r:6379/0",
		},
		"valkey://gate:se%40c%2Fr%3Aet@r": {
			Server{Addresses: []string{"r:6379"}, Username: "gate", Password: "se@c/r:et"}, "redis://gate@r:6379/0",
		},
		"redis://gate:p@ss#:w%25d@r": { // unambiguous
			Server{Addresses: []string{"r:6379"}, Username: "gate", Password: "p@ss#:w%d"}, "redis://gate@r:6379/0",
		},
		"redis://a,b:7001,[::1],[fe80::1]:7002": {
			Server{Addresses: []string{"a:6379", "b:7001", "[::1]:6379", "[fe80::1]:7002"}},
			"redis://a:6379,b:7001,[::1]:6379,[fe80::1]:7002/0",
		},
		"redis://:p@s1,s2:5/2?sentinel_master=main&sentinel_username=u&sentinel_password=q%40": {
			Server{
				Addresses: []string{"s1:26379", "s2:5"}, Password: "p", Database: 2,
				SentinelMaster: "main", SentinelUsername: "u", SentinelPassword: "q@",
			},
			"redis://s1:26379,s2:5/2?sentinel_master=main",
		},
		"rediss://r?ca_file=/a/b.pem&cert_file=c&key_file=k&server_name=n": {
			Server{Addresses: []string{"r:6379"}, TLS: &TLS{CAFile: "/a/b.pem", CertFile: "c", KeyFile: "k", ServerName: "n"}},
			"rediss://r:6379/0",
		},
		"valkeys://r?insecure=true": {Server{Addresses: []string{"r:6379"}, TLS: &TLS{Insecure: true}}, "rediss://r:6379/0"},
	} {
		got, err := ParseURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
		if got.String() != c.shown {
			t.Errorf("%s is shown as %s", raw, got)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                              "must begin with redis://",
		"localhost:6379":                                "must begin with redis://",
		"http://:hunter2@localhost":                     "no other scheme",
		"hunter2://x":                                   "no other scheme",
		"redis://":                                      "has no host",
		"redis://:hunter2@":                             "has no host",
		"redis://:hunter2@a,,b":                         "has no host",
		"redis://:hunter2@a:b":                          "not a number from 1 to 65535",
		"redis://:hunter2@a:0":                          "not a number from 1 to 65535",
		"redis://:hunter2@a:65536":                      "not a number from 1 to 65535",
		"redis://:hunter2@::1":                          "want host:port",
		"redis://:hunter2@a/x":                          "number of a database",
		"redis://:hunter2@a/0/1":                        "number of a database",
		"redis://:hunter2@a/-1":                         "cannot be negative",
		"redis://:hunt/er2@a":                           "percent-encoded",
		"redis://:hun?ter2@a":                           "percent-encoded",
		"redis://:hun@t?er2@a":                          "percent-encoded",
		"redis://:hun@t/er2@a":                          "percent-encoded",
		"redis://:hunter2%@a":                           "percent-encoded",
		"redis://:hunter2%zz@a":                         "percent-encoded",
		"redis://:hunter2@a?x=1":                        `unknown option "x"`,
		"redis://:hunter2@a?%zz":                        "malformed",
		"redis://:hunter2@a?ca_file=x":                  "for rediss:// only",
		"redis://:hunter2@a?insecure=true":              "for rediss:// only",
		"rediss://:hunter2@a?insecure=5x":               "true or false",
		"rediss://:hunter2@a?cert_file=c":               "needs both",
		"rediss://a?ca_file=x&insecure=1":               "makes no sense",
		"redis://a?sentinel_password=hunt2":             "need sentinel_master",
		"redis://a?sentinel_master=a&sentinel_master=b": "given twice",
	} {
		got, err := ParseURL(raw)
		if err == nil {
			t.Errorf("%s was accepted: %+v", raw, got)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", raw, err)
		}
		for _, part := range []string{"hunt", "er2", "hun", "zz"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: a part of the password is shown: %v", raw, err)
			}
		}
	}
}

func TestIdentity(t *testing.T) {
	one := Config{Server: Server{Addresses: []string{"a:1"}, Password: "hunter2"}}
	same := Config{Server: Server{Addresses: []string{"a:1"}, Password: "other"}, Prefix: DefaultPrefix, Timeout: 1}
	other := Config{Server: one.Server, Prefix: "other"}
	if one.Identity() != same.Identity() || one.Identity() == other.Identity() {
		t.Errorf("identities: %s, %s, %s", one.Identity(), same.Identity(), other.Identity())
	}
	if strings.Contains(one.Identity(), "hunter2") {
		t.Error("the password is shown")
	}
}
