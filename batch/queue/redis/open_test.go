package redis

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tidegate/tidegate/internal/redistest"
)

const secret = "hunter2-and-more"

// refused opens an invalid configuration and returns the error.
func refused(t *testing.T, cfg Config) string {
	t.Helper()
	q := New(cfg)
	err := q.Open(t.Context())
	if err == nil {
		must(t, q.Close())
		t.Fatal("it was opened")
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the password is shown: %v", err)
	}
	must(t, q.Close())
	return err.Error()
}

func TestRefusedByServer(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Password: secret})
	server := serverOf(t, s)
	works(t, open(t, Config{Server: server}))

	server.Password = "wrong-" + secret
	if text := refused(t, Config{Server: server}); !strings.Contains(text, "WRONGPASS") {
		t.Error(text)
	}
	server.Password = ""
	if text := refused(t, Config{Server: server}); !strings.Contains(text, "NOAUTH") {
		t.Error(text)
	}
	server.Password, server.Database = secret, 16
	if text := refused(t, Config{Server: server}); !strings.Contains(text, "DB index is out of range") {
		t.Error(text)
	}
	do(t, s, "ACL", "SETUSER", "gate", "on", ">"+secret, "~tidegate:*", "resetchannels", "&tidegate:*", "+@all", "-info", "-config", "-cluster")
	log, seen := logs()
	server.Database, server.Username = 3, "gate"
	works(t, open(t, Config{Server: server, Logger: log})) // optional commands may be refused
	if seen.FilterMessageSnippet("version of Redis is unknown").Len() != 1 {
		t.Error("no log entry about the version")
	}
	if n := do(t, s, "CONFIG", "GET", "maxmemory-policy"); n == nil {
		t.Error("no policy")
	}
}

// permissions are those in the package documentation.
var permissions = strings.Fields("~tidegate:* &tidegate:wake -@all +hello +auth +select +ping +xgroup +xadd +pexpire +xreadgroup +xautoclaim +xack +xdel +del +publish +subscribe +unsubscribe")

// TestPermissions checks that the documented permissions are sufficient, and that Open
// reports each missing one.
func TestPermissions(t *testing.T) {
	s := redistest.Start(t)
	server := serverOf(t, s)
	server.Username, server.Password, server.Database = "gateway", secret, 1
	let := func(permissions ...string) {
		t.Helper()
		do(t, s, append([]string{"ACL", "SETUSER", "gateway", "reset", "resetchannels", "on", ">" + secret}, permissions...)...)
	}
	let(permissions...)
	q := open(t, Config{Server: server})
	works(t, q)
	heardAgain(t, s, q)
	for i, p := range permissions {
		command := strings.TrimPrefix(p, "+")
		if p == "-@all" || slices.Contains([]string{"auth", "hello", "ping", "subscribe", "unsubscribe"}, command) {
			continue // always permitted, or not checked by Open
		}
		let(slices.Delete(slices.Clone(permissions), i, i+1)...)
		if text := refused(t, Config{Server: server}); !strings.Contains(text, "NOPERM") {
			t.Errorf("without %s: %s", p, text)
		}
	}
	if left := do(t, s, "DBSIZE"); left != int64(0) {
		t.Errorf("%v keys are left", left)
	}
}

func TestPermissionsOnACluster(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Cluster: true})
	do(t, s, append([]string{"ACL", "SETUSER", "gateway", "resetchannels", "on", ">" + secret}, permissions...)...)
	do(t, s, "ACL", "SETUSER", "gateway", "+cluster")
	server := serverOf(t, s)
	server.Username, server.Password = "gateway", secret
	q := open(t, Config{Server: server})
	works(t, q)
	heardAgain(t, s, q)
	// A node of a cluster that looks like a single server.
	f := startFake(t, map[string]string{
		"AUTH": "+OK\r\n", "CLUSTER": "-NOPERM this user has no permissions to run the 'cluster|slots' command\r\n",
		"INFO": bulk("# Server\r\nredis_version:7.0.15\r\n"), "XGROUP": "-MOVED 1 127.0.0.1:1\r\n",
	})
	if text := refused(t, Config{Server: f.server()}); !strings.Contains(text, "a cluster node") {
		t.Error(text)
	}
}

func TestOldVersion(t *testing.T) {
	for version, want := range map[string]string{
		"5.0.7": "6.2 or newer", "6.0.16": "6.2 or newer", "6.2.0": "", "7.0.15": "", "10.0": "", "seven": "is needed", "": "is needed", "x.y": "reading",
	} {
		err := checkVersion("# Server\r\nredis_version:" + version + "\r\nos:Linux\r\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("version %q: %v", version, err)
		}
	}
	if err := checkVersion("# Server\r\n"); err == nil {
		t.Error("no version is no error")
	}
	f := startFake(t, map[string]string{
		"AUTH":    "+OK\r\n",
		"CLUSTER": "-ERR This instance has cluster support disabled\r\n",
		"INFO":    bulk("# Server\r\nredis_version:5.0.7\r\n"),
	})
	server := f.server()
	server.Password = secret
	if text := refused(t, Config{Server: server}); !strings.Contains(text, "version 5.0.7 of Redis, and 6.2 or newer") {
		t.Error(text)
	}
}

// TestPasswordIsHidden uses a proxy that repeats a refused command with a password.
func TestPasswordIsHidden(t *testing.T) {
	f := startFake(t, map[string]string{"HELLO": "-ERR no such thing here: HELLO 3 AUTH default " + secret + "\r\n"})
	server := f.server()
	server.Password = secret
	if text := refused(t, Config{Server: server}); !strings.Contains(text, "AUTH default ***") {
		t.Error(text)
	}
}

func TestBlackHole(t *testing.T) {
	silent := startFake(t, map[string]string{"HELLO": "", "INFO": "", "AUTH": ""})
	full, err := net.Listen("tcp", "127.0.0.1:0") // accepts no connection
	must(t, err)
	defer full.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, address := range map[string]string{
		"silent": silent.addr, "not accepting": full.Addr().String(), "closed": closed.Addr().String(),
	} {
		for kind, server := range map[string]Server{
			"single":   {Addresses: []string{address}},
			"cluster":  {Addresses: []string{address, address}},
			"sentinel": {Addresses: []string{address}, SentinelMaster: "main"},
			"tls":      {Addresses: []string{address}, TLS: new(TLS)},
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				begin := time.Now()
				const timeout = 200 * time.Millisecond
				text := refused(t, Config{Server: server, Timeout: timeout})
				// The limits of the client's library are 5 s and more.
				if took := time.Since(begin); took > openWithin*timeout+3500*time.Millisecond {
					t.Errorf("it took %s: %s", took, text)
				}
			})
		}
	}
}

func TestOpenObeysContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts no connection
	must(t, err)
	defer silent.Close()
	address := silent.Addr().String()
	for name, server := range map[string]Server{
		"single":   {Addresses: []string{address}},
		"sentinel": {Addresses: []string{address}, SentinelMaster: "main"},
		"tls":      {Addresses: []string{address}, TLS: new(TLS)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		err := New(Config{Server: server, Timeout: time.Minute}).Open(ctx)
		cancel()
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > patience {
			t.Errorf("%s: after %s: %v", name, took, err)
		}
	}
}

func TestEvictionIsWarnedOf(t *testing.T) {
	s := redistest.Start(t)
	for policy, warnings := range map[string]int{"noeviction": 0, "allkeys-lru": 1} {
		do(t, s, "CONFIG", "SET", "maxmemory-policy", policy)
		log, seen := logs()
		open(t, Config{Server: serverOf(t, s), Logger: log})
		if n := seen.FilterLevelExact(zapcore.WarnLevel).Len(); n != warnings {
			t.Errorf("%s: %d warnings", policy, n)
		}
	}
}

func TestTLS(t *testing.T) {
	files := redistest.Certificates(t)
	s := redistest.Start(t, redistest.Options{TLS: files, Args: []string{"--tls-auth-clients", "optional"}})
	for name, c := range map[string]struct {
		tls  *TLS
		want string // part of the error; "" for none
	}{
		"authority":          {&TLS{CAFile: files.CA}, ""},
		"insecure":           {&TLS{Insecure: true}, ""},
		"client certificate": {&TLS{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}, ""},
		"other name":         {&TLS{CAFile: files.CA, ServerName: "elsewhere"}, "wanted to match elsewhere"},
		"system":             {new(TLS), "unknown authority"},
		"no file":            {&TLS{CAFile: files.CA + "x"}, "no such file"},
		"no certificate":     {&TLS{CAFile: files.Key}, "no certificate in"},
		"half a certificate": {&TLS{CertFile: files.Cert}, "needs both"},
		"contradiction":      {&TLS{CAFile: files.CA, Insecure: true}, "makes no sense"},
		"in the clear":       {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			// The first handshake reads the system's authorities, which takes a while
			// where processors are busy.
			cfg := Config{Server: Server{Addresses: []string{s.Addr}, TLS: c.tls}, Timeout: 30 * time.Second}
			if c.want == "" && c.tls != nil {
				works(t, open(t, cfg))
				return
			}
			if text := refused(t, cfg); !strings.Contains(text, c.want) {
				t.Error(text)
			}
		})
	}
}

// TestRenewedCertificates checks that certificates that are renewed while the gateway runs
// are used from the next connection on.
func TestRenewedCertificates(t *testing.T) {
	files := redistest.Certificates(t)
	s := redistest.Start(t, redistest.Options{TLS: files})
	q := open(t, Config{Server: Server{Addresses: []string{s.Addr}, TLS: &TLS{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}}, Timeout: 500 * time.Millisecond})
	works(t, q)
	must(t, s.Kill())
	renewed := redistest.Certificates(t) // of another authority
	for from, to := range map[string]string{renewed.CA: files.CA, renewed.Cert: files.Cert, renewed.Key: files.Key} {
		must(t, os.Rename(from, to))
	}
	must(t, s.Restart())
	eventually(t, "the server is used again", func() bool { return q.Ping(t.Context()) == nil })
	works(t, q)
	heardAgain(t, s, q)
}

func TestClosedAndNeverOpened(t *testing.T) {
	never := New(Config{Server: serverOf(t, shared)})
	closed := New(Config{Server: serverOf(t, shared)})
	must(t, closed.Open(t.Context()))
	must(t, closed.Close())
	must(t, closed.Close())
	must(t, never.Close())
	for name, method := range methods {
		if method(t.Context(), never) == nil || method(t.Context(), closed) == nil {
			t.Errorf("%s succeeds", name)
		}
	}
}

// TestCloseWhileHanging checks that Close returns soon although the server does not respond.
func TestCloseWhileHanging(t *testing.T) {
	s := redistest.Start(t)
	q := New(Config{Server: serverOf(t, s)})
	must(t, q.Open(t.Context()))
	heardAgain(t, s, q)
	must(t, s.Pause())
	begin := time.Now()
	must(t, q.Close())
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	must(t, s.Resume())
}

// TestTakeOverIn62 uses the response of XAUTOCLAIM in 6.2: two values, and nil for deleted
// entries.
func TestTakeOverIn62(t *testing.T) {
	f := startFake(t, map[string]string{
		"CLUSTER":    "-ERR This instance has cluster support disabled\r\n",
		"INFO":       bulk("# Server\r\nredis_version:6.2.0\r\n"),
		"XREADGROUP": "*-1\r\n",
		"XAUTOCLAIM": "*2\r\n" + bulk("0-0") + "*3\r\n*-1\r\n*2\r\n" + bulk("5-1") + "*2\r\n" + bulk(field) + bulk("42") + "*-1\r\n",
	})
	q := open(t, Config{Server: f.server()})
	got, err := q.Pop(t.Context(), aBatch, 3)
	must(t, err)
	want(t, got, []int{42})
	if ids := idsOf(q.popped.take(aBatch, []int{42})); !slices.Equal(ids, []string{"5-1"}) {
		t.Errorf("ids are %v", ids)
	}
}

// trimmed returns a queue whose entries were all popped, and deleted by another client.
func trimmed(t *testing.T) *Queue {
	t.Helper()
	q := open(t, Config{Server: serverOf(t, shared), Prefix: prefix(), Idle: time.Millisecond})
	must(t, q.Push(t.Context(), aBatch, upTo(30)))
	drainFor(t, q, 30)
	do(t, shared, "XTRIM", q.cfg.stream(aBatch), "MAXLEN", "0")
	return q
}

// TestTakeOverOfDeletedEntries checks that deleted entries are skipped, with the response of
// every version.
func TestTakeOverOfDeletedEntries(t *testing.T) {
	q := trimmed(t)
	idle := func() bool { // long enough to be taken over
		first := do(t, shared, "XPENDING", q.cfg.stream(aBatch), group, "IDLE", "2", "-", "+", "30").([]any)
		return len(first) == 30
	}
	eventually(t, "the entries are idle", idle)
	want(t, drain(t, q, aBatch), nil)
	must(t, q.Push(t.Context(), aBatch, upTo(5)))
	want(t, drainFor(t, q, 5), upTo(5))
}

// TestDeletedEntriesAreForgotten checks that deleted entries, which Redis 7 reports, are
// removed.
func TestDeletedEntriesAreForgotten(t *testing.T) {
	q := trimmed(t)
	eventually(t, "nothing is pending any more", func() bool {
		want(t, drain(t, q, aBatch), nil)
		return do(t, shared, "XPENDING", q.cfg.stream(aBatch), group).([]any)[0] == int64(0)
	})
}
