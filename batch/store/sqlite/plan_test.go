package sqlite

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// scans are statements that may scan a whole index: a partial index in the required
// order that contains only unfinished work.
var scans = map[*statement][]string{
	activeBatches:              {"SCAN batches USING INDEX batches_turns"},
	waitingBatches:             {"SCAN batches USING INDEX batches_validating"},
	claimBatch[batch.Validate]: {"SCAN batches USING INDEX batches_validating", "SCAN batches USING INDEX batches_ending"},
	claimBatch[batch.Finalize]: {"SCAN batches USING INDEX batches_validating", "SCAN batches USING INDEX batches_ending"},
	endBatchLeases:             {"SCAN batches USING INDEX batches_pending"},
	finishedWork:               {"SCAN batches USING INDEX batches_work"},
	endSliceLeases:             {"SCAN slices USING INDEX slices_unfinished"},
	endDeliveryLeases:          {"SCAN webhook_deliveries USING INDEX webhook_deliveries_claimed"},
	receiptKeys:                {"SCAN receipt_keys USING INDEX receipt_keys_added"},
	upstreamModels:             {"SCAN upstream_models USING INDEX upstream_models_told"},
	selectKeys:                 {"SCAN api_keys"},
	queuedLinesOfAll:           {"SCAN batches USING INDEX batches_turns"},
	batchStatesOfAll:           {"SCAN batch_states"}, // a row for each status of a tenant
	allStorage:                 {"SCAN storage"},      // a row for each purpose of a tenant
	storageByTenant:            {"SCAN storage"},
	countKeys:                  {"SCAN api_keys USING COVERING INDEX sqlite_autoindex_api_keys_2"},
	forgetKey:                  {"SCAN api_keys"},
	claimDeliveries:            {"SCAN json_each VIRTUAL TABLE INDEX 1:"}, // a few tenants
	forgetUpstreams:            {"SCAN upstream_models USING COVERING INDEX upstream_models_told"},
}

// sorters are statements that may sort: the sums of a period, whose number does not
// depend on the number of rows, and a few rows.
var sorters = map[*statement]bool{usageSeries: true, usageByModel: true, dailySeries: true, dailyByModel: true, eventSeries: true, storageUse: true, allStorage: true, storageByTenant: true, fileUses: true, batchStatesOfAll: true, tenantUsage: true, allUsage: true, queuedLines: true, queuedLinesOfAll: true}

var pausedPage = finders[store.Filter{Paused: true}].page

// searches are statements whose index matters beyond being one.
var searches = map[*statement]string{
	batchesPage:        "SEARCH batches USING INDEX batches_page (tenant=? AND seq<?)",
	pausedPage:         "SEARCH batches USING INDEX batches_paused (tenant=? AND seq>? AND seq<?)",
	filesPages[0]:      "SEARCH files USING INDEX files_page (tenant=? AND seq<?)",
	filesPages[1]:      "SEARCH files USING INDEX files_page (tenant=? AND seq>?)",
	filesPages[2]:      "SEARCH files USING INDEX files_page_purpose (tenant=? AND purpose=? AND seq<?)",
	filesPages[3]:      "SEARCH files USING INDEX files_page_purpose (tenant=? AND purpose=? AND seq>?)",
	batchesPageOfAll:   "SEARCH batches USING INDEX batches_all_page (seq>? AND seq<?)",
	filesPagesOfAll[0]: "SEARCH files USING INDEX files_all_page (seq<?)",
	filesPagesOfAll[1]: "SEARCH files USING INDEX files_all_page (seq>?)",
	filesPagesOfAll[2]: "SEARCH files USING INDEX files_all_purpose (purpose=? AND seq<?)",
	filesPagesOfAll[3]: "SEARCH files USING INDEX files_all_purpose (purpose=? AND seq>?)",
	createdFromOfAll:   "SEARCH batches USING COVERING INDEX batches_all_created (created_at>?)",
	createdBeforeOfAll: "SEARCH batches USING COVERING INDEX batches_all_created (created_at<?)",
	expireBatches:      "SEARCH batches USING COVERING INDEX batches_deadline (expires_at<?)",
	claimableSlices:    "SEARCH slices USING INDEX slices_unfinished (batch=?)",
	claimSlice:         "SEARCH slices USING PRIMARY KEY (batch=? AND number=?)",
	renewSlice:         "SEARCH slices USING PRIMARY KEY (batch=? AND number=?)",
	updateSlice:        "SEARCH slices USING PRIMARY KEY (batch=? AND number=?)",
	selectResults:      "SEARCH segments USING INDEX segments_slice (batch=? AND slice=?)",
	selectOtherUser:    "SEARCH batches USING INDEX batches_input (input=?)",
	queued:             "SEARCH batches USING INDEX batches_status (tenant=? AND status=?)",
	waiting:            "SEARCH batches USING INDEX batches_status (tenant=? AND status=?)",
	usageSeries:        "SEARCH usage_15m USING PRIMARY KEY (tenant=? AND bucket>? AND bucket<?)",
	tenantUsage:        "SEARCH key_usage USING PRIMARY KEY (tenant=? AND day>? AND day<?)",
	allUsage:           "SEARCH key_usage USING INDEX key_usage_day (day>? AND day<?)",
	eventSeries:        "SEARCH events_15m USING PRIMARY KEY (tenant=? AND bucket>? AND bucket<?)",
	fileUses:           "SEARCH batches USING INDEX batches_input (input=?)",
	largestFiles:       "SEARCH files USING INDEX files_size (tenant=?)",
	claimDeliveries:    "SEARCH webhook_deliveries USING INDEX webhook_deliveries_due (endpoint=? AND next_at<?)",
	garbageFiles:       "SEARCH b USING INDEX batches_input_unfinished (input=?)",
}

func init() {
	for _, all := range []map[store.Filter]finder{finders, findersOfAll} {
		for filter, f := range all {
			if filter.Active { // at most a page of each state
				sorters[f.page], sorters[f.floor], sorters[f.search] = true, true, true
			}
		}
	}
	for filter, want := range map[store.Filter]string{
		{}:                          "batches_all_page (seq>? AND seq<?)",
		{Status: true}:              "batches_all_status (status=? AND seq>? AND seq<?)",
		{Model: true}:               "batches_all_model (model=? AND seq>? AND seq<?)",
		{Status: true, Model: true}: "batches_all_status_model (status=? AND model=? AND seq>? AND seq<?)",
		{Paused: true}:              "batches_all_paused (seq>? AND seq<?)",
		{Active: true}:              "batches_all_status (status=? AND seq>? AND seq<?)",
		{Active: true, Model: true}: "batches_all_status_model (status=? AND model=? AND seq>? AND seq<?)",
	} {
		searches[findersOfAll[filter].page] = "SEARCH batches USING INDEX " + want
	}
}

// TestPlans checks the plan of every statement of the driver: each must find or order
// its rows with an index, without a table scan and without sorting, so that finished
// work does not slow it down.
func TestPlans(t *testing.T) {
	s := openStore(t, databasePath(t))
	for _, st := range statements {
		if strings.HasPrefix(st.text, "PRAGMA") {
			continue
		}
		steps := explain(t, s, st)
		text := st.text + "\n\truns as: " + strings.Join(steps, "\n\t\t")
		for _, step := range steps {
			switch {
			case strings.Contains(step, "TEMP B-TREE") && !sorters[st], strings.Contains(step, "AUTOMATIC"):
				t.Errorf("sorts: %s", text)
			case strings.HasPrefix(step, "SCAN") && step != "SCAN CONSTANT ROW" && !strings.HasPrefix(step, "SCAN (subquery-") && !slices.Contains(scans[st], step):
				t.Errorf("goes through a table: %s", text)
			}
		}
		for _, want := range append(slices.Clone(scans[st]), searches[st]) {
			if want != "" && !slices.Contains(steps, want) {
				t.Errorf("does not use %q: %s", want, text)
			}
		}
	}
}

var parameter = regexp.MustCompile(`\?\d*`)

// explain returns the steps of SQLite's plan
// (https://www.sqlite.org/eqp.html).
func explain(t *testing.T, s *Store, st *statement) []string {
	args := make([]any, len(parameter.FindAllString(st.text, -1)))
	rows, err := s.writer.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+st.text, args...)
	if err != nil {
		t.Fatalf("%s: %v", st.text, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	var steps []string
	for rows.Next() {
		var (
			id, parent, unused int
			step               string
		)
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}
