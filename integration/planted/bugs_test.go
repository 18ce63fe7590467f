package planted

// The suites that find bugs: a package, which of its tests, and how. Those of chaos find
// them by faults at random times, so they are repeated.
var (
	durable  = suite{pkg: "integration/gateway", run: "^TestToldIsDurable$"}
	killed   = suite{pkg: "integration/chaos", run: "^TestKills$/^sqlite$", flags: []string{"-kills=12", "-patience=20s"}, patient: []string{"-kills=4", "-patience=2m"}, tries: 3}
	redis    = suite{pkg: "integration/chaos", run: "^TestRedis$", flags: []string{"-redis=3", "-patience=40s"}, patient: []string{"-redis=1", "-patience=2m"}, tries: 3}
	postgres = suite{pkg: "integration/chaos", run: "^TestPostgres$", flags: []string{"-postgres=2", "-only=immediate restart|backends terminated", "-patience=40s"}, patient: []string{"-postgres=1", "-patience=2m"}, tries: 3}
	renewing = suite{pkg: "batch/store/postgres", run: "^TestStore$/.*/lease_that_ended_lets"}
	keeping  = suite{pkg: "batch/store/sqlite", run: "^TestStore$/.*/kept_lines_are_released"}
	leaving  = suite{pkg: "integration/several", run: "^TestStopKeepsOnlyWhatHasBegun$/^finished$"}
	racing   = suite{pkg: "integration/chaos", run: "^TestHistories$", flags: []string{"-histories=320", "-expire=false", "-patience=2m"}, tries: 3}
	driver   = suite{pkg: "batch/store/sqlite", run: "^TestStore$/.*/(stale|released)"}
	commits  = suite{pkg: "batch/store/sqlite", run: "^TestStore$/^Commits$"}
)

// engine is one test of the engine.
func engine(name string) suite { return suite{pkg: "batch/engine", run: "^" + name + "$"} }

// scheduler is one test of the scheduler.
func scheduler(name string) suite { return suite{pkg: "batch/scheduler", run: "^" + name + "$"} }

// failing is one failpoint.
func failing(point string) suite {
	return suite{pkg: "integration/faults", run: "^TestFailpoints$/^sqlite$/^" + point + "$"}
}

// impatient is a suite of faults in which a bug lets a gateway hang.
func impatient(s suite, patience string) suite {
	s.flags, s.patient = []string{"-patience=" + patience}, []string{"-patience=1m"}
	return s
}

// bug is a plausible bug.
type bug struct {
	name  string
	edits []edit
	found suite
	says  string // regular expression for the failure of the suite
}

// edit is a change of a file. The inserted code calls planted.Is with its bug's name.
type edit struct{ file, from, to string }

var bugs = []bug{
	{"content not synced", []edit{{
		"batch/files/local/writer.go",
		"if err := w.file.Sync(); err != nil {",
		"if planted.Is(`content not synced`) {\n} else if err := w.file.Sync(); err != nil {",
	}}, durable, `/files/../file-\w+ was not synced`},
	{"directory not synced", []edit{{
		"batch/files/local/writer.go",
		"if err := w.files.disk.syncDir(shard); err != nil {",
		"if planted.Is(`directory not synced`) {\n} else if err := w.files.disk.syncDir(shard); err != nil {",
	}}, durable, `/files/.. was not synced`},
	{"commits not synced", []edit{{
		"batch/store/sqlite/pool.go",
		`"_synchronous":  {"FULL"},`,
		`"_synchronous":  {planted.Or("commits not synced", "FULL", "NORMAL")},`,
	}}, durable, `tidegate.db-wal was not synced`},
	{"acknowledged before the commit", []edit{{
		"batch/scheduler/committer.go",
		"	for pause := commitBackoffMin; ; pause",
		`	if planted.Is("acknowledged before the commit") {
		c.committed(group, nil)
		statement, cancel := bounded(ctx)
		_, err := c.deps.Store.CommitResults(statement, writes)
		cancel()
		c.deps.Health.Note("committing results", err)
		return true
	}
	for pause := commitBackoffMin; ; pause`,
	}}, postgres, `calls were repeated`},
	{"fenced by nothing but the batch", []edit{{
		"batch/store/commit.go",
		"	default:\n		return 0",
		"	default:\n		if planted.Is(`fenced by nothing but the batch`) {\n			return ^uint64(0)\n		}\n		return 0",
	}}, driver, `FAIL: Test.*tale`},
	{"a claim on kept lines is one on all", []edit{{
		"batch/store/commit.go",
		"		return s.Kept\n",
		"		if planted.Is(`a claim on kept lines is one on all`) {\n			return ^uint64(0)\n		}\n		return s.Kept\n",
	}}, driver, `a released line is refused`},
	{"lines that another keeps are begun", []edit{{
		"batch/scheduler/loader.go",
		"	taken := s.Done | s.Kept",
		"	taken := s.Done | s.Kept\n	if planted.Is(`lines that another keeps are begun`) {\n		taken = s.Done\n	}",
	}}, engine("TestKeptLinesOfTheDead"), `ran although another kept it`},
	{"kept lines are not released", []edit{{
		"batch/store/sqlite/slices.go",
		"	_, err := t.exec(ctx, releaseKept,",
		"	if planted.Is(`kept lines are not released`) {\n		return nil\n	}\n	_, err := t.exec(ctx, releaseKept,",
	}}, keeping, `claimable slices`},
	{"results of a batch that is over", []edit{{
		"batch/store/commit.go",
		"return b.Status == batch.InProgress ||",
		"return planted.Is(`results of a batch that is over`) || b.Status == batch.InProgress ||",
	}}, commits, `stale claims once cancelled`},
	{"counted twice", []edit{{
		"batch/store/commit.go",
		"if s.Done&(1<<l.Index) != 0 {",
		"if s.Done&(1<<l.Index) != 0 && !planted.Is(`counted twice`) {",
	}}, commits, `has two results|UNIQUE constraint failed: segments`},
	{"done lines forgotten", []edit{{
		"batch/scheduler/loader.go",
		"if taken&(1<<index) != 0 {",
		"if taken&(1<<index) != 0 && !planted.Is(`done lines forgotten`) {",
	}}, killed, `calls were repeated`},
	{"the store is never asked for what the queue forgot", []edit{{
		"batch/scheduler/loader.go",
		"		if len(numbers) == 0 {\n			break\n		}",
		"		if len(numbers) == 0 && planted.Is(`the store is never asked for what the queue forgot`) && err == nil {\n			return nil, nil\n		}\n		if len(numbers) == 0 {\n			break\n		}",
	}}, killed, `is in_progress after all|in vain for progress after the last kill`},
	{"leases of others ignored", []edit{
		{"batch/store/postgres/slices.go", "found, err = all(ctx, t, scanPlaced, claimSlices,", "found, err = all(ctx, t, scanPlaced, planted.Without(`leases of others ignored`, claimSlices, ` AND s.lease_until <= $5`, ` AND s.lease_until <= $5 + 1000000000000`),"},
		{"batch/store/postgres/slices.go", "numbers, err = all(ctx, t, store.Value[int], claimableSlices,", "numbers, err = all(ctx, t, store.Value[int], planted.Without(`leases of others ignored`, claimableSlices, ` AND lease_until <= $2`, ` AND lease_until <= $2 + 1000000000000`),"},
	}, redis, `calls were repeated`},
	{"status before the files", []edit{
		{"batch/engine/finalizer.go", "if err := f.dst.Commit(ctx); err != nil {", "if planted.Is(`status before the files`) {\n} else if err := f.dst.Commit(ctx); err != nil {"},
		{
			"batch/engine/finalizer.go", "		return fmt.Errorf(\"finishing batch: %w\", err)\n	}", `		return fmt.Errorf("finishing batch: %w", err)
	}
	for _, f := range []*resultFile{&w.output, &w.errors} {
		if planted.Is("status before the files") && f.dst != nil {
			if err := f.dst.Commit(ctx); err != nil {
				return err
			}
		}
	}`,
		},
	}, impatient(failing("store.FinishBatch:after=crash"), "20s"), `/content(:| answered)`},
	{"two batches of one wish", []edit{{
		"batch/engine/service.go",
		"IdempotencyKey: r.IdempotencyKey,",
		"IdempotencyKey: planted.Or(`two batches of one wish`, r.IdempotencyKey, ``),",
	}}, failing("store.CreateBatch:after=error"), `calls were made again`},
	{"begun without a lease", []edit{{
		"batch/scheduler/leases.go",
		"	if l.firstEnd.IsZero() || now.Before(l.firstEnd) {",
		"	if l.firstEnd.IsZero() || now.Before(l.firstEnd) || planted.Is(`begun without a lease`) {",
	}}, engine("TestNothingBeginsWithoutALease"), `of them without a lease`},
	{"an outage of the store is an end", []edit{{
		"batch/scheduler/committer.go",
		"		if !wait.Sleep(ctx, pause) {",
		"		if planted.Is(`an outage of the store is an end`) {\n			c.committed(group, nil)\n			return true\n		}\n		if !wait.Sleep(ctx, pause) {",
	}}, engine("TestLatecomerRepeatsNothing"), `got 2 calls, want 1`},
	{"claimed as soon as an outage ends", []edit{{
		"batch/scheduler/outage.go",
		"	o.graceUntil = now.Add(outageGrace)",
		"	if !planted.Is(`claimed as soon as an outage ends`) {\n\t\to.graceUntil = now.Add(outageGrace)\n\t}",
	}}, engine("TestOutageRepeatsNothing"), `got 2 calls, want 1`},
	{"silence is no outage", []edit{{
		"batch/scheduler/outage.go",
		"return (c.Lease - c.LeaseRenew) / 3",
		"if planted.Is(`silence is no outage`) {\n\t\treturn time.Hour\n\t}\n\treturn (c.Lease - c.LeaseRenew) / 3",
	}, {
		"batch/scheduler/outage.go",
		"return 4 * (c.Lease - c.LeaseRenew) / 9",
		"if planted.Is(`silence is no outage`) {\n\t\treturn time.Hour\n\t}\n\treturn 4 * (c.Lease - c.LeaseRenew) / 9",
	}}, engine("TestSilenceRepeatsNothing"), `got 2 calls, want 1`},
	{"renewed although another has it", []edit{{
		"batch/store/postgres/slices.go",
		"all(ctx, t, store.Value[int], renewSlices,",
		"all(ctx, t, store.Value[int], planted.Without(`renewed although another has it`, renewSlices, ` AND s.attempt = c.attempt`, ``),",
	}}, renewing, `lost claims`},
	{"released while they run", []edit{{
		"batch/scheduler/releases.go",
		"w.dropped || kept(w)",
		"w.dropped || !planted.Is(`released while they run`) && kept(w)",
	}}, leaving, `requests, [1-9]\d* calls repeated`},
	{"lines placed in the order in which they are left", []edit{{
		"batch/scheduler/loader.go",
		"		var added *line\n",
		"		if planted.Is(`lines placed in the order in which they are left`) {\n			index = len(w.lines)\n		}\n		var added *line\n",
	}}, killed, `calls were repeated|has no result|stands in the output file and`},
	{"refused lines count as answered", []edit{{
		"batch/store/commit.go",
		"	if l.Failed {",
		"	if l.Failed && !planted.Is(`refused lines count as answered`) {",
	}}, killed, `of which were refused`},
	{"used once more when committed once more", []edit{{
		"batch/store/commit.go",
		"				continue\n			}\n			s.Done |= 1 << l.Index",
		"				if planted.Is(`used once more when committed once more`) {\n					again := *s.Batch\n					c.Usage = append(c.Usage, again.count(l))\n				}\n				continue\n			}\n			s.Done |= 1 << l.Index",
	}}, failing("store.CommitResults:after=error"), `usage of .* is counted`},
	{"a cancel that comes when the last line is done", []edit{{
		"batch/store/postgres/batches.go",
		"one(ctx, t, store.ScanBatch, cancelBatch,",
		"one(ctx, t, store.ScanBatch, planted.Without(`a cancel that comes when the last line is done`, cancelBatch, `ending = 'cancelled'`, `ending = CASE status WHEN 'finalizing' THEN ending ELSE 'cancelled' END`),",
	}}, racing, `a cancel was accepted: true`},
	{"slices beyond the first page", []edit{{
		"batch/engine/finalizer.go",
		"		first = slices[len(slices)-1].Number + 1",
		"		if planted.Is(`slices beyond the first page`) {\n			return nil\n		}\n		first = slices[len(slices)-1].Number + 1",
	}}, engine("TestResultsOfManySlices"), `custom_ids in the results, want`},
	{"the lease on a batch is never renewed", []edit{{
		"batch/engine/worker.go",
		"		for wait.Sleep(stop, w.config().LeaseRenew) {",
		"		for !planted.Is(`the lease on a batch is never renewed`) && wait.Sleep(stop, w.config().LeaseRenew) {",
	}}, engine("TestSlowFinalizerKeepsItsBatch"), `it was claimed 3 times, want 2`},
	{"unknown contents are given no time to get a row", []edit{{
		"batch/engine/quarantine.go",
		"if time.Since(modified) < unknownAge {",
		"if time.Since(modified) < unknownAge && !planted.Is(`unknown contents are given no time to get a row`) {",
	}}, engine("TestUnknownContentsAreQuarantined"), `want 1 of 22 unknown`},
	{"unknown contents are deleted in the first round", []edit{{
		"batch/engine/quarantine.go",
		"if !deleting || found.TooMany() {",
		"if (!deleting && !planted.Is(`unknown contents are deleted in the first round`)) || found.TooMany() {",
	}}, engine("TestUnknownContentsAreQuarantined"), `is deleted in the first round after a start`},
	{"many unknown contents are deleted", []edit{{
		"batch/engine/quarantine.go",
		"return q.Unknown*quarantineShare > q.Total",
		"return !planted.Is(`many unknown contents are deleted`) && q.Unknown*quarantineShare > q.Total",
	}}, engine("TestManyUnknownContentsAreKept"), `is deleted`},
	{"loads of several batches take the same memory", []edit{{
		"batch/scheduler/budget.go",
		"return b.free() - b.loading.bytes()",
		"if planted.Is(`loads of several batches take the same memory`) {\n\t\treturn b.free()\n\t}\n\treturn b.free() - b.loading.bytes()",
	}}, scheduler("TestLoadsShareMemory"), `bytes in memory, want at most`},
	{"one slice is dropped of those that a commit refuses", []edit{{
		"batch/scheduler/commit.go",
		"s.queues.dropWork(lost...)",
		"if planted.Is(`one slice is dropped of those that a commit refuses`) {\n\t\tlost = lost[:min(1, len(lost))]\n\t}\n\ts.queues.dropWork(lost...)",
	}}, scheduler("TestRefusedSlicesAreDropped"), `slices, want the third alone`},
}
