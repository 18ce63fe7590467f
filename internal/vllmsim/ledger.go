package vllmsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
)

// digest identifies a request: SHA-256 of its path, a newline and its body.
type digest [sha256.Size]byte

func (d *digest) key() string { return hex.EncodeToString(d[:16]) }

// Key is the name under which a request is counted: XYZ if its body contains
// "sim-id:XYZ" (letters, digits, '.', '_' and '-'), else the first 32 hex
// digits of the SHA-256 of path, newline and body, which are also in the
// answer's id.
func Key(path string, body []byte) string {
	if id := simID(body); id != nil {
		return string(id)
	}
	d := digestOf(appendRequest(nil, path, body))
	return d.key()
}

// appendRequest appends the input of a digest.
func appendRequest(dst []byte, path string, body []byte) []byte {
	dst = append(dst, path...)
	dst = append(dst, '\n')
	return append(dst, body...)
}

func digestOf(request []byte) digest { return sha256.Sum256(request) }

var simIDMark = []byte("sim-id:")

// simID returns the name in a body, nil for none.
func simID(body []byte) []byte {
	_, id, ok := bytes.Cut(body, simIDMark)
	if !ok {
		return nil
	}
	n := 0
	for n < len(id) && isNameByte(id[n]) {
		n++
	}
	if n == 0 {
		return nil
	}
	return id[:n]
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// Calls has the counts of one request by its outcome. A request that was received and
// neither finished nor aborted is running, had a fault or was refused.
type Calls struct {
	Received int64 `json:"received"`
	Finished int64 `json:"finished"` // answered to the last byte
	Aborted  int64 `json:"aborted"`  // the client left first
}

type entry struct {
	received, finished, aborted atomic.Int64
	named                       bool // counted by its sim-id; set before the entry is shared
}

func (e *entry) calls() Calls {
	return Calls{Received: e.received.Load(), Finished: e.finished.Load(), Aborted: e.aborted.Load()}
}

const ledgerShards = 64

// Ledger counts generation requests by Key. It holds about 100 bytes per
// distinct request until Reset. It is safe for concurrent use.
type Ledger struct {
	shards [ledgerShards]ledgerShard

	mu    sync.Mutex
	named map[string]*entry // by sim-id; guarded by mu

	calls, distinct atomic.Int64
}

type ledgerShard struct {
	mu     sync.Mutex
	hashed map[[16]byte]*entry // guarded by mu
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger {
	l := &Ledger{named: map[string]*entry{}}
	for i := range l.shards {
		l.shards[i].hashed = map[[16]byte]*entry{}
	}
	return l
}

// receive counts a request and returns the number of its receptions.
func (l *Ledger) receive(d *digest, id []byte) (e *entry, nth int64) {
	l.calls.Add(1)
	short := [16]byte(d[:16])
	shard := &l.shards[d[0]%ledgerShards]
	shard.mu.Lock()
	e = shard.hashed[short]
	if e == nil {
		e = &entry{named: id != nil}
		shard.hashed[short] = e
		l.distinct.Add(1)
	}
	nth = e.received.Add(1)
	shard.mu.Unlock()
	if id == nil {
		return e, nth
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e = l.named[string(id)]
	if e == nil {
		e = new(entry)
		l.named[string(id)] = e
	}
	return e, e.received.Add(1)
}

// Calls returns the counts of one key, zero for one never seen.
func (l *Ledger) Calls(key string) Calls {
	l.mu.Lock()
	e := l.named[key]
	l.mu.Unlock()
	if e != nil {
		return e.calls()
	}
	raw, err := hex.DecodeString(key)
	if err != nil || len(raw) != 16 {
		return Calls{} // no hash, and no request had that name
	}
	short := [16]byte(raw)
	shard := &l.shards[short[0]%ledgerShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if e := shard.hashed[short]; e != nil {
		return e.calls()
	}
	return Calls{}
}

// All returns the counts of every key. A request that named itself is there by
// its name only.
func (l *Ledger) All() map[string]Calls {
	all := make(map[string]Calls)
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		for short, e := range shard.hashed {
			if !e.named {
				all[hex.EncodeToString(short[:])] = e.calls()
			}
		}
		shard.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.named {
		all[id] = e.calls()
	}
	return all
}

// Named returns the counts of the requests whose names begin with a prefix, by name.
func (l *Ledger) Named(prefix string) map[string]Calls {
	found := make(map[string]Calls)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.named {
		if strings.HasPrefix(id, prefix) {
			found[id] = e.calls()
		}
	}
	return found
}

// Reset forgets everything. Requests that run end uncounted.
func (l *Ledger) Reset() {
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		clear(shard.hashed)
		shard.mu.Unlock()
	}
	l.mu.Lock()
	clear(l.named)
	l.mu.Unlock()
	l.calls.Store(0)
	l.distinct.Store(0)
}
