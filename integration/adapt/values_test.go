package adapt

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// kind is a kind of option: invalid values, and the description of valid values that every
// error must contain.
type kind struct {
	bad  []string
	want string
}

var (
	wholeNumbers = []string{"-1", "0", "1.5", "many", "NaN", "1e3", "9223372036854775808", "10000000000", `""`, "1s"}
	counts       = kind{wholeNumbers, "a whole number from 1 to 1"}
	durations    = kind{[]string{"-1s", "0", "0s", "1ns", "30", "often", "NaN", "1parsec", "20000000d", "1000000h", "1MiB", `""`}, "from 1ms to 365d"}
	ttls         = kind{[]string{"-1s", "0", "0s", "1ns", "30", "often", "NaN", "99999999999h", `""`}, "from 1ms to 36500d"}
	sizes        = kind{[]string{"-1", "0", "0MiB", "-32MiB", "NaN", "32parsecs", "1,5MiB", "99999999999999999999", "16EiB", "2PiB", "large", `""`, "1s"}, "from 1B to 1PiB"}
	words        = kind{[]string{`""`, `" "`}, "not empty"}
	anything     = kind{}
	limitValues  = kind{[]string{"-1", "0", "1.5", "many", "NaN", "1e3", "9223372036854775808", "1000000000001", `""`, "1s"}, "a whole number from 1 to 1000000000000"}
)

func numbers(most string) kind {
	return kind{[]string{"-1", "0", "-0", "NaN", "Inf", "-Inf", "1e400", "1000001", "heavy", `""`, "50%"}, "above 0 and up to " + most}
}

// values are all options by block.
var values = map[string]map[string]kind{
	"": {
		"data": words, "pool": anything, "batch": {[]string{"on", `""`, "OFF"}, `followed by "off" or a block`}, "body": anything, "store": anything, "queue": anything, "files": anything,
		"tenant":   {[]string{`""`, "a/b", "-a", "*"}, "must have 1 to 64 letters"},
		"identity": {[]string{"x", `""`}, "wrong argument count"},
		"key":      {[]string{`a`, `""`, "\"a\x1b\""}, "key"},
		"api_keys": {[]string{`""`, `one " "`, ",", "one ,,"}, "a key is empty"},
		"role":     {[]string{"boss", "Serve", `""`}, "must be one of all, serve, work"},
		"metrics":  {[]string{"on", "yes", "key", `""`, "OFF"}, "metrics must be off, public or keys"},
		"auth":     {[]string{"on", "yes", "0"}, `must be "off"`},
		"hosts":    {[]string{"*", "**.example.com", "a.*.example.com", "a*.example.com", "example.com:80", "http://example.com", "a,example.com:80", ",", "a..b", ".a", `""`, `"a b"`, strings.Repeat("a", 64)}, "host names without scheme and port"},
		"cors":     {[]string{"example.com", "*.example.com", "https://*.example.com", "https://", "https://a/path", "https://a?b", "https://a#", "https://u@a", "https://a:0", "https://a:65536", "https://a:", "https://a:http", "https://a,b", ",", `""`, "null"}, "origins such as https://"},
		"webhook":  {[]string{"", "https://a", `""`}, "webhook"},
		"cost":     {[]string{"on", `""`}, "wrong argument count"},
	},
	"pool": {
		"balancer": {[]string{`""`, "random", "least_work 2", "session", "session header", "session field", "session cookie id", `session header "a b"`, `session field ""`, "session header X-Session-Id field user"}, "balancer"},
		"upstream": {[]string{"localhost:8000", "ftp://a", "http://", "http://:8000", "http://a:0", "http://a:65536", "http://a:-1", "http://a:http", "http://a?b", "http://a#b", "http://u:p@a", "http://a/../b", "unix/relative", `""`, "http://a http://a", "http://a,http://a", "http://a,b", ",", ", ,"}, "upstreams["},
		"api_key":  anything, "batch_share": numbers("1"),
		"health_interval": durations, "health_timeout": durations, "models_interval": durations, "load_time": durations, "dial_timeout": durations,
		"idle_timeout": durations, "stream_idle_timeout": durations,
		"health_failures": counts, "health_fails": counts, "retry_buffer": sizes, "body_memory": sizes, "max_answer": sizes,
		"queue_size": counts, "queue_timeout": durations,
		"guardrail":    {[]string{"http://", "ftp://a/b", "a/b", "http://u:p@a/b", "http://a/b#c"}, "the URL "},
		"batch_price":  {[]string{"-1", "0", "0.0009", "0.51", "1", "2%", "NaN", "Inf", "on", `""`}, `a part of the time from 0.001 to 0.5, or "off"`},
		"batch_budget": {[]string{"10", "0%", "-1%", "%", "NaN%", "10001%", "1e9%", "0s", "-5ms", "1ns", "11m", "little", `""`}, "a part such as 10% or a duration such as 20ms"},
	},
	"upstream": {
		"weight": numbers("1e+06"), "max_num_seqs": counts, "api_key": anything, "scheduling_policy": {[]string{"on", "Priority", `""`}, "must be one of fcfs, priority"}, "scale_to_zero": {[]string{"on", `""`}, "wrong argument count"}, "tls_server_name": words,
		"tls_ca": anything, "tls_client_auth": {[]string{"one", "one two three"}, "wrong argument count"}, "tls_insecure_skip_verify": {[]string{"yes"}, "wrong argument count"},
	},
	"body": {"min_rate": sizes, "grace": durations},
	"identity": {
		"user":    {[]string{"alice", `""`, "{env.USER}", "{http.request.host}", "{http.request.uri.query.user}", "{http.auth.user.id}x", "{http.vars.user}", "{http.request.remote.host}", "{http.request.cookie.user}"}, "must be {http.auth.user.NAME}"},
		"role":    {[]string{"root alice", `"" alice`, "Admin alice"}, "scopes are: live, batch, read, operate, admin"},
		"default": {[]string{"root", `""`, "live,read"}, "scopes are: live, batch, read, operate, admin"},
		"tenant":  {[]string{`""`, "a/b", "* alice", "{env.USER} alice"}, "must have 1 to 64 letters"},
	},
	"key": {
		"secret": {[]string{"sk-1", `""`, "{env.A:sk-1}"}, "secret"}, "secret_file": {[]string{`""`, "{file.a}"}, "the path of a file"},
		"tenant": {[]string{`""`, "a/b", "-a", "*", `"a b"`, strings.Repeat("a", 65)}, "must have 1 to 64 letters"},
		"scopes": {[]string{"root", "live Admin", `""`, "live,batch"}, "scopes are: live, batch, read, operate, admin"},
		"models": {[]string{`""`, `a ""`}, "the name of a model is empty"}, "expires": {[]string{"tomorrow", "2027-13-01", `""`, "30d"}, "a date such as"},
	},
	"tenant": {"weight": {[]string{"0", "-1", "1e-17", "0.0009", "1001", "NaN", "+Inf", "heavy", `""`}, "a number from 0.001 to 1000"}, "limits": {[]string{"60", `""`}, "wrong argument count"}},
	"limits": {
		"requests_per_minute": limitValues, "tokens_per_minute": limitValues, "requests_in_flight": limitValues,
		"lines_queued": limitValues, "tokens_queued": limitValues, "batches_per_hour": limitValues, "tokens_per_month": limitValues,
		"cost_per_month": {[]string{"-1", "0", "0.0", "1e3", "NaN", "1,5", "0.0000000001", "1000000000.1", "9223372037", "5.", `""`, "5EUR"}, "an amount up to 1000000000 with at most nine decimals"},
	},
	"cost": {
		"currency":       {[]string{"€", "1EUR", `""`, strings.Repeat("x", 17)}, "a name such as EUR"},
		"batch_discount": {[]string{"-0.5", "1.001", "0.0001", "50%", "NaN", "1e-1", "5.", `""`}, "a part from 0 to 1 with at most three decimals"},
		"model":          {[]string{"a input -1", "a input 1,5", "a input 0.0000001", "a input 1000000.1", "a input 1e3", "a input NaN", `a input ""`, `"" input 1`, "a output 1", "a input 1 input 2", "a price 1 input 2"}, "model "},
	},
	"guardrail": {
		"timeout": durations, "key": {[]string{"literal", "{env.KEY:literal}"}, "must be a placeholder"}, "fail": {[]string{"shut", "Open", `""`}, "must be one of closed, open"},
		"classes": {[]string{"flex", "live flex", `""`}, "classes must be live, batch or both"},
	},
	"batch": {
		"hours":         {[]string{"22:00 full", "8-9 full", `"Mo 08:00-09:00" full`, "08:00-08:00 full", "08:00-24:01 full", `"" full`}, "use a range such as"},
		"else":          {[]string{"1.5", "-1", "NaN", "30%", `""`}, "a number from 0 to 1"},
		"hours_zone":    {[]string{"Europe/Atlantis", `""`, "../etc/passwd"}, "the name of a time zone"},
		"max_in_flight": counts, "max_concurrent_batches": counts, "max_requests": counts, "max_open_uploads": counts, "max_files": counts, "max_stored_size": sizes, "max_upload_parts": counts, "max_total_open_uploads": counts, "max_total_files": counts, "max_total_stored_size": sizes,
		"retries": counts, "stop_after": counts,
		"max_file_size": sizes, "max_upload_size": sizes, "max_part_size": sizes, "max_decompressed_size": sizes, "max_line_size": sizes, "memory": sizes,
		"retry_backoff": {[]string{"0s 1s", "1s 0s", "-1s 1s", "1s 9999999h", "1 2", "soon later", "2s 1s", `"" 1s`}, "retry_backoff must"},
		"line_timeout":  durations, "lease": durations, "drain_timeout": durations, "collect_interval": durations,
		"quarantine": ttls, "upload_ttl": ttls, "input_ttl": ttls, "output_ttl": ttls,
	},
	"postgres": {
		"max_conns":       {append([]string{"1"}, wholeNumbers...), "a whole number from 2 to 10000"},
		"connect_timeout": durations, "statement_timeout": durations,
	},
	"redis": {"prefix": words, "timeout": durations, "idle": durations},
	"s3":    {"access_key": words, "secret_key": words},
}

// settings are the Caddyfiles with the option on line 5.
var settings = map[string]string{
	"":          "{\n\ttidegate {\n\n\n%s\n\t}\n}\n",
	"pool":      "{\n\ttidegate {\n\tpool {\n\n%s\n\t}\n\t}\n}\n",
	"body":      "{\n\ttidegate {\n\tbody {\n\n%s\n\t}\n\t}\n}\n",
	"batch":     "{\n\ttidegate {\n\tbatch {\n\n%s\n\t}\n\t}\n}\n",
	"key":       "{\n\ttidegate {\n\n\tkey a {\n%s\n\t}\n\t}\n}\n",
	"identity":  "{\n\ttidegate {\n\n\tidentity {\n%s\n\t}\n\t}\n}\n",
	"tenant":    "{\n\ttidegate {\n\n\ttenant a {\n%s\n\t}\n\t}\n}\n",
	"limits":    "{\n\ttidegate {\n\ttenant a {\n\tlimits {\n%s\n\t}\n\t}\n\t}\n}\n",
	"cost":      "{\n\ttidegate {\n\n\tcost {\n%s\n\t}\n\t}\n}\n",
	"guardrail": "{\n\ttidegate {\n\tpool {\n\tguardrail http://a {\n%s\n\t}\n\t}\n\t}\n}\n",
	"upstream":  "{\n\ttidegate {\n\tpool {\n\tupstream https://a {\n%s\n\t}\n\t}\n\t}\n}\n",
	"postgres":  "{\n\ttidegate {\n\n\tstore postgres postgres://db/tidegate {\n%s\n\t}\n\t}\n}\n",
	"redis":     "{\n\ttidegate {\n\n\tqueue redis redis://cache {\n%s\n\t}\n\t}\n}\n",
	"s3":        "{\n\ttidegate {\n\n\tfiles s3 s3://bucket?region=eu-west-1 {\n%s\n\t}\n\t}\n}\n",
}

// A value that an option cannot have is refused with file, line, the option and
// the values that it takes.
func TestValuesOutOfRange(t *testing.T) {
	for block, options := range values {
		for word, k := range options {
			for _, value := range k.bad {
				got := adapt(t, fmt.Sprintf(settings[block], word+" "+value))
				named := strings.Contains(got, word) || k.want == "wrong argument count"
				if !named || !strings.Contains(got, k.want) || !strings.HasSuffix(got, ", at Caddyfile:5") {
					t.Errorf("%s { %s %s }: got %q, want an error with %q at Caddyfile:5", block, word, value, got, k.want)
				}
			}
		}
	}
}

// TestDriversOutOfRange checks that errors of blocks and addresses have their line too.
func TestDriversOutOfRange(t *testing.T) {
	for line, want := range map[string]string{
		"store mysql": `unrecognized store driver "mysql"; drivers are: `,
		"queue kafka": `unrecognized queue driver "kafka"; drivers are: `,
		"files ftp":   `unrecognized files driver "ftp"; drivers are: `,
		"store postgres postgres://db:99999/tidegate":  "URL of the database",
		"store postgres http://db/tidegate":            "URL of the database",
		`store sqlite ""`:                              "must be a path that is not empty",
		`files local ""`:                               "must be a path that is not empty",
		"files s3 https://bucket":                      "its scheme is",
		"files s3 s3://bucket?colour=blue":             "unknown parameter",
		"files s3 s3://bucket?timeout=-1s":             "timeout",
		"files s3 s3://bucket?attempts=-1":             "attempts",
		"files s3 s3://bucket?attempts=many":           "attempts",
		"files s3 s3://bucket?part_size=1":             "part size",
		"files s3 s3://bucket?part_size=9999999999999": "part size",
	} {
		got := adapt(t, fmt.Sprintf(settings[""], line))
		if !strings.Contains(got, want) || !strings.HasSuffix(got, ", at Caddyfile:5") {
			t.Errorf("%s: got %q, want an error with %q at Caddyfile:5", line, got, want)
		}
	}
	for line, want := range map[string]string{
		"path /": "root", `name ""`: "a name", "name " + strings.Repeat("x", 101): "a name", "name \"a\nb\"": "a name", "name": "wrong argument count", "name a b": "wrong argument count", "path dashboard": "a path", "path /a//b": "a path", "path /a?b": "a path", `path ""`: "root",
		"trusted_origins *": "origins", "trusted_origins ops.example.com": "origins", "trusted_origins https://a/": "origins",
	} {
		got := adapt(t, "{\n\ttidegate\n}\n:8080 {\n\ttidegate_dashboard {\n"+line+"\n}\n}\n")
		if !strings.Contains(got, want) || !strings.HasSuffix(got, ", at Caddyfile:6") {
			t.Errorf("%s: got %q, want an error with %q at Caddyfile:6", line, got, want)
		}
	}
}

// Every option of the documentation is in the table, and every option of the
// table in the documentation.
func TestAllOptionsHaveBadValues(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, options := range values {
		for word := range options {
			if !strings.Contains(page, "| `"+word+" ") && !strings.Contains(page, "| `"+word+"`") {
				t.Errorf("%s is not documented", word)
			}
		}
	}
	_, page, _ = strings.Cut(page, "\n## The Caddyfile")
	page, _, _ = strings.Cut(page, "\n## JSON")
	found := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)[^`]*`").FindAllStringSubmatch(page, -1) {
		known := strings.HasPrefix(row[1], "tidegate") || row[1] == "path" || row[1] == "name" || row[1] == "trusted_origins" // see TestDriversOutOfRange
		for _, options := range values {
			_, there := options[row[1]]
			known = known || there
		}
		if !known {
			t.Errorf("%s of docs/configuration.md is not in the table", row[1])
		}
		found++
	}
	if found < 50 {
		t.Errorf("only %d options were found", found)
	}
}
