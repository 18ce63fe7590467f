package order

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// request is a line of a test: one of a group whose prompts begin alike.
type request struct{ group, number int }

func (r request) prompt() Key { return textKey(r.text()) }

func (r request) text() string {
	return fmt.Sprintf(`[{"role":"user","content":"%s and number %d"}]`, strings.Repeat(fmt.Sprintf("document %d ", r.group), 200), r.number)
}

func textKey(text string) Key { return Prompt{Text: []byte(text)}.Key() }

// take takes the lines of a queue, each by the server that is next in turn, and counts
// how often a server reads the document of a group.
func take(q *Queue[request], servers []string) (order []request, reads int) {
	read := make(map[string]int) // the last document of a server
	for i := 0; q.Len() > 0; i++ {
		server := servers[i%len(servers)]
		r := q.Take(Server{Name: server})
		order = append(order, r)
		if last, ok := read[server]; !ok || last != r.group {
			reads++
		}
		read[server] = r.group
	}
	return order, reads
}

func shuffled(groups, of int) []request {
	var all []request
	for g := range groups {
		for n := range of {
			all = append(all, request{g, n})
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// TestTake checks how often documents are read by servers with room for one.
func TestTake(t *testing.T) {
	four := []string{"a", "b", "c", "d"}
	for name, c := range map[string]struct {
		groups, of int
		servers    []string
		most       int // reads
	}{
		"one server":                    {100, 40, four[:1], 100},
		"four servers":                  {100, 40, four, 104},
		"one group":                     {1, 400, four, 4},
		"fewer groups than servers":     {3, 100, four, 6},
		"small groups":                  {500, 3, four, 510},
		"twenty-four servers":           {100, 40, servers(24), 150},
		"more servers than lines":       {2, 3, servers(24), 6},
		"groups of one, nothing shared": {300, 1, four, 300},
	} {
		t.Run(name, func(t *testing.T) {
			var q Queue[request]
			all := shuffled(c.groups, c.of)
			for _, r := range all {
				q.Add(r, r.prompt(), 0)
			}
			if want := c.of > 1; q.Shares() != want {
				t.Errorf("got Shares %v, want %v", q.Shares(), want)
			}
			order, reads := take(&q, c.servers)
			if reads > c.most {
				t.Errorf("got %d reads of documents, want at most %d", reads, c.most)
			}
			if c.of == 1 && !slices.Equal(order, all) {
				t.Error("got another order than that of the input, although nothing is shared")
			}
			wantSame(t, order, all)
		})
	}
}

func servers(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("server ", i))
	}
	return names
}

func wantSame(t *testing.T, got, want []request) {
	t.Helper()
	counts := make(map[request]int)
	for _, r := range want {
		counts[r]++
	}
	for _, r := range got {
		counts[r]--
	}
	for r, n := range counts {
		if n != 0 {
			t.Errorf("line %v was taken %d times less than added", r, n)
		}
	}
}

// TestTakeLongFirst checks that a line that runs much longer than others is started
// first, wherever it is in the input.
func TestTakeLongFirst(t *testing.T) {
	var q Queue[int]
	for i := range 100 {
		tokens := 100
		if i >= 97 {
			tokens = 1000 + i
		}
		q.Add(i, textKey(fmt.Sprint("prompt ", i)), tokens)
	}
	var got []int
	for range 5 {
		got = append(got, q.Take(Server{Name: "a"}))
	}
	if want := []int{99, 98, 97, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("got lines %v first, want %v", got, want)
	}
	for i := range 10 { // not known: neither long nor part of the mean
		q.Add(1000+i, textKey(fmt.Sprint("other ", i)), 0)
	}
	if got := q.Take(Server{Name: "a"}); got != 2 {
		t.Errorf("got line %d, want 2", got)
	}
}

// TestPut checks the order of lines that are put back.
func TestPut(t *testing.T) {
	var q Queue[int]
	for i := range 5 {
		q.Add(i, Key{}, 0)
	}
	if first, ok := q.Peek(); ok {
		t.Errorf("got %d before any server is known", first)
	}
	a, b, c := q.Take(Server{Name: "a"}), q.Take(Server{Name: "a"}), q.Take(Server{Name: "a"})
	q.PutFirst(b)
	q.PutFirst(a)
	q.PutLast(c)
	q.Add(5, Key{}, 0)
	for _, want := range []int{0, 1, 3, 4, 5, 2} {
		first, known := q.Peek()
		if got := q.Take(Server{Name: "b"}); got != want || known && first != got {
			t.Errorf("got %d after %d was seen, want %d", got, first, want)
		}
		if wantKnown := want <= 2; known != wantKnown {
			t.Errorf("%d: got %v, want %v", want, known, wantKnown)
		}
	}
	if q.Len() != 0 {
		t.Errorf("got %d lines, want none", q.Len())
	}
}

// TestKeys compares the common prefixes of keys with those of the prompts. It finds prompts
// with other tools that are taken for alike, and beginnings that are not compared.
func TestKeys(t *testing.T) {
	text := strings.Repeat("a text ", 200_000)
	key := func(head uint64, headBytes int, text string) prefix {
		return Prompt{Head: head, HeadBytes: headBytes, Text: []byte(text)}.Key().prefix
	}
	for name, tt := range map[string]struct {
		a, b prefix
		want int
	}{
		"other tools":             {key(1, 300, text), key(2, 300, text), 0},
		"the same tools":          {key(1, 300, text), key(1, 300, text[:100]+"other"), 384},
		"larger tools":            {key(1, 5000, text), key(1, 5000, "other"), 4096},
		"equal":                   {key(0, 0, text), key(0, 0, text), rememberedBytes},
		"the beginning":           {key(0, 0, text), key(0, 0, text[:9000]), 8192},
		"another character":       {key(0, 0, text), key(0, 0, text[:6143]+"!"+text[6144:]), 4096},
		"another character later": {key(0, 0, text), key(0, 0, text[:6144]+"!"+text[6145:]), 6144},
		"short":                   {key(0, 0, text[:255]), key(0, 0, text[:255]), 0},
		"none":                    {key(0, 0, ""), key(0, 0, ""), 0},
	} {
		if got, other := tt.a.common(tt.b), tt.b.common(tt.a); got != tt.want || other != tt.want {
			t.Errorf("%s: got a common prefix of %d and %d bytes, want %d", name, got, other, tt.want)
		}
	}
	for size, want := range map[int]int{1 << 10: 20, 8 << 10: 44, 1 << 20: 84} {
		if got := len(key(0, 0, text[:size])); got != want {
			t.Errorf("got a key of %d bytes for a prompt of %d, want %d", got, size, want)
		}
	}
}

// TestQueueAtRandom adds, takes, returns and removes lines, and compares what is there
// with a plain set. The shared prefixes are compared with those of the prompts.
func TestQueueAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var q Queue[request]
	have := make(map[request]bool)
	var taken []request
	next := 0
	for step := range 20_000 {
		switch k := random.IntN(10); {
		case k < 4:
			r := request{random.IntN(20), next}
			next++
			q.Add(r, r.prompt(), random.IntN(3)*random.IntN(100))
			have[r] = true
		case k < 8 && q.Len() > 0:
			r := q.Take(Server{Name: fmt.Sprint(random.IntN(5))})
			if !have[r] {
				t.Fatalf("step %d: took %v, which is not there", step, r)
			}
			delete(have, r)
			taken = append(taken, r)
		case k == 8 && len(taken) > 0:
			r := taken[len(taken)-1]
			taken = taken[:len(taken)-1]
			if random.IntN(2) == 0 {
				q.PutFirst(r)
			} else {
				q.PutLast(r)
			}
			have[r] = true
		case k == 9 && random.IntN(50) == 0:
			group := random.IntN(20)
			q.Filter(func(r request) bool { return r.group != group })
			for r := range have {
				if r.group == group {
					delete(have, r)
				}
			}
		}
		if q.Len() != len(have) {
			t.Fatalf("step %d: got %d lines, want %d", step, q.Len(), len(have))
		}
	}
	for i, e := range q.sorted[1:] {
		if before := q.sorted[i]; before.prefix > e.prefix || before.prefix == e.prefix && before.number > e.number {
			t.Fatalf("lines %d and %d are not in order", i, i+1)
		} else if want := before.prefix.common(e.prefix); int(e.shared) != want {
			t.Fatalf("line %d: got a shared prefix of %d bytes, want %d", i+1, e.shared, want)
		}
	}
	if most := 2*len(q.sorted) + 65; len(q.arrived) > most || len(q.long) > most {
		t.Errorf("got %d and %d remembered lines for %d, want at most %d", len(q.arrived), len(q.long), len(q.sorted), most)
	}
}

// BenchmarkQueue adds and takes a line of 8 KB among 4,000 of 100 groups, and among 50,000 of
// 1, 100 and 10,000 groups.
func BenchmarkQueue(b *testing.B) {
	for _, size := range [][2]int{{100, 40}, {1, 50_000}, {100, 500}, {10_000, 5}} {
		b.Run(fmt.Sprint(size[0], "×", size[1]), func(b *testing.B) {
			var q Queue[request]
			all := shuffled(size[0], size[1])
			prompts := make([]Key, len(all))
			for i, r := range all {
				text := r.text()
				prompts[i] = textKey(text[:20] + strings.Repeat(text, 4))
				q.Add(r, prompts[i], 100)
			}
			names := servers(8)
			for i := 0; b.Loop(); i++ {
				r := q.Take(Server{Name: names[i%8]})
				q.Add(r, prompts[i%len(prompts)], 100)
			}
		})
	}
}

// BenchmarkKey makes the key of a prompt of 16 KB.
func BenchmarkKey(b *testing.B) {
	p := Prompt{Text: bytes.Repeat([]byte("tide "), 3277)}
	for b.Loop() {
		p.Key()
	}
}

// BenchmarkWaits asks each of 24 servers whether it waits before one of them takes a line, as
// near the end of a batch.
func BenchmarkWaits(b *testing.B) {
	var q Queue[request]
	all, names := shuffled(24, 40), servers(24)
	for i, r := range all {
		q.Add(r, r.prompt(), 100)
		if i < len(names) {
			q.Take(Server{Name: names[i]})
		}
	}
	q.SetOutlook(Outlook{Slots: 10_000, Running: func(string) (tokens, perToken float64) { return 100, 1 }})
	for i := 0; b.Loop(); i++ {
		for range names {
			q.Waits("another")
		}
		r := q.Take(Server{Name: names[i%len(names)]})
		q.Add(r, r.prompt(), 100)
	}
}

// TestNothingIsKept checks that the prompts of lines that share nothing are not kept
// after the lines were taken.
func TestNothingIsKept(t *testing.T) {
	var q Queue[int]
	for i := range 100 {
		q.Add(i, textKey(strings.Repeat(string(rune(i)), 1000)), 0)
	}
	for q.Len() > 0 {
		q.Take(Server{Name: "a"})
	}
	if len(q.read) != 0 {
		t.Errorf("got prompts of %d servers, want none", len(q.read))
	}
}

// TestWaits checks that a server without a prefix of its own leaves the lines of another
// server to it if that ends them sooner, and takes half of them otherwise.
func TestWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		own, other float64 // tokens that run on the server, and on the one that has the prefix
		pace       float64 // seconds for a token of the other server
		free       bool    // there are lines that no server works on
		want       bool
	}{
		"both have as much":         {own: 1000, other: 1000, pace: 1, want: true},
		"the other has little more": {own: 1000, other: 1100, pace: 1, want: true},
		"the other has much more":   {own: 1000, other: 3000, pace: 1},
		"the other is slower":       {own: 1000, other: 1000, pace: 3},
		"the other runs nothing":    {own: 1000, pace: 1},
		"another prefix":            {own: 1000, other: 1000, pace: 1, free: true},
	} {
		t.Run(name, func(t *testing.T) {
			var q Queue[request]
			add := func(group, lines int) {
				for n := range lines {
					r := request{group, n}
					q.Add(r, r.prompt(), 100)
				}
			}
			add(1, 1)
			q.Take(Server{Name: "server"})
			add(0, 6)
			q.Take(Server{Name: "other"})
			if tt.free {
				add(2, 6)
			}
			q.SetOutlook(Outlook{Slots: 100, Running: func(server string) (tokens, perToken float64) {
				if server == "other" {
					return tt.other, tt.pace
				}
				return tt.own, 1
			}})
			if got := q.Waits("server"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if q.Waits("other") {
				t.Error("the other server has to wait, although it has the prefix")
			}
			if got := q.Take(Server{Name: "server"}); tt.free != (got.group == 2) {
				t.Errorf("then it takes %v", got)
			}
		})
	}
}

// TestRangesAreKept checks that the ranges of the servers are computed once for all servers
// that are asked whether they wait, and again after each change. It finds ranges that each
// question computes, by their allocations, and ranges that a change leaves as they were.
func TestRangesAreKept(t *testing.T) {
	var q Queue[request]
	names := servers(8)
	for _, r := range shuffled(8, 6) {
		q.Add(r, r.prompt(), 100)
	}
	random := rand.New(rand.NewPCG(3, 4))
	q.SetOutlook(Outlook{Slots: 1000, Running: func(string) (tokens, perToken float64) { return 100, 1 }})
	check := func(after string) {
		t.Helper()
		if got, want := q.spans(), q.divide(nil); !slices.Equal(got, want) {
			t.Fatalf("got the ranges %v after %s, want %v", got, after, want)
		}
	}
	for n := 100; q.Len() > 0; n++ {
		q.Take(Server{Name: names[random.IntN(len(names))]})
		check("a line was taken")
		if n < 130 {
			r := request{random.IntN(12), n}
			q.Add(r, r.prompt(), 100)
			check("a line was added")
		}
		if n == 110 {
			q.Filter(func(r request) bool { return r.group != 3 })
			check("lines were removed")
		}
		q.Waits("another")
		if got := testing.AllocsPerRun(10, func() { q.Waits("another") }); got > 0 {
			t.Fatalf("got %v allocations to ask again whether a server waits, want none", got)
		}
	}
}

// TestUnmeasured checks that a server of unknown speed gets short lines while long ones
// would be next.
func TestUnmeasured(t *testing.T) {
	var q Queue[int]
	for i, tokens := range []int{100, 100, 50, 2000, 100, 100} {
		q.Add(i, textKey(fmt.Sprint("prompt ", i)), tokens)
	}
	for i, tt := range []struct {
		server Server
		want   int
	}{
		{Server{Name: "unknown", Unmeasured: true}, 2},
		{Server{Name: "unknown", Unmeasured: true}, 0},
		{Server{Name: "known"}, 3},
		{Server{Name: "unknown", Unmeasured: true}, 1},
	} {
		if got := q.Take(tt.server); got != tt.want {
			t.Errorf("line %d: got %d, want %d", i, got, tt.want)
		}
	}
}

// TestRemembered checks that few prefixes of a server are remembered, and that lines that
// share a long one stay together.
func TestRemembered(t *testing.T) {
	for name, size := range map[string]int{"short": 4 << 10, "long": 100 << 10, "longer than compared": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			var q Queue[request]
			for _, r := range shuffled(20, 3) {
				q.Add(r, textKey(fmt.Sprintf("group %d %s%d", r.group, strings.Repeat("x", size), r.number)), 0)
			}
			var groups []int
			for q.Len() > 0 {
				groups = append(groups, q.Take(Server{Name: "a"}).group)
				if got := len(q.read["a"]); got > remembered {
					t.Fatalf("got %d remembered prefixes, want at most %d", got, remembered)
				}
			}
			if got := slices.Compact(groups); len(got) != 20 {
				t.Errorf("got %d changes of the prefix, want 20", len(got))
			}
		})
	}
}

// TestFilter checks that the shared prefixes are right after lines were removed together.
func TestFilter(t *testing.T) {
	var q Queue[request]
	for _, r := range shuffled(30, 7) {
		q.Add(r, r.prompt(), 10)
	}
	for _, modulo := range []int{7, 3, 2} {
		q.Filter(func(r request) bool { return (r.group+r.number)%modulo != 0 })
		for i, e := range q.sorted {
			want := 0
			if i > 0 {
				want = q.sorted[i-1].prefix.common(e.prefix)
			}
			if int(e.shared) != want {
				t.Fatalf("line %d: got a shared prefix of %d bytes, want %d", i, e.shared, want)
			}
		}
	}
	if got, want := q.tokens, int64(10*len(q.sorted)); got != want {
		t.Errorf("got %d expected tokens of %d lines, want %d", got, len(q.sorted), want)
	}
}
