package dashboard

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// maxPicked limits the batches of one action.
const maxPicked = 2 * batchesPerPage

// bulkAction is an action on several batches, applied to each of them.
type bulkAction struct {
	name   string
	verb   string // in titles
	button string
	// whyNot returns why a batch does not allow it, "" if it does.
	whyNot func(Batch) string
	// asks is true if the action has to be confirmed.
	asks   bool
	danger bool
	title  string // of the confirmation
	text   string // of the confirmation: what will be lost
	done   string // result for a batch
}

var bulkActions = []bulkAction{
	{name: "pause", verb: "Pause", button: "Pause", whyNot: whyNotPause, done: "Paused."},
	{name: "resume", verb: "Resume", button: "Resume", whyNot: whyNotResume, done: "Resumed."},
	{
		name: "retry", verb: "Retry", button: "Retry failed lines …", whyNot: whyNotRetry, asks: true, done: "Its failed lines are repeated by",
		title: "Retry the failed lines of these batches?",
		text:  "A new batch is made of the failed lines of each batch. A batch that was repeated before is not repeated again.",
	},
	{
		name: "cancel", verb: "Cancel", button: "Cancel …", whyNot: whyNotCancel, asks: true, danger: true, done: "It is being cancelled.",
		title: "Cancel these batches?",
		text:  "Results so far are kept. Lines without a result will have none. A cancelled batch cannot be resumed.",
	},
	{
		name: "delete", verb: "Delete", button: "Delete …", whyNot: whyNotDelete, asks: true, danger: true, done: "Deleted.",
		title: "Delete these batches?",
		text:  "The batches, their output files and their error files are deleted permanently.",
	},
}

const hasEnded = "Not possible: it has ended."

func controllable(b Batch) bool { return b.Status == batch.Validating || b.Status == batch.InProgress }

func whyNotControl(b Batch) string {
	switch {
	case b.Status.Terminal():
		return hasEnded
	case !controllable(b):
		return "Not possible: no more of its lines will run."
	default:
		return ""
	}
}

func whyNotPause(b Batch) string {
	if why := whyNotControl(b); why != "" {
		return why
	}
	if !b.PausedAt.IsZero() {
		return "Not needed: it is already paused."
	}
	return ""
}

func whyNotResume(b Batch) string {
	if why := whyNotControl(b); why != "" {
		return why
	}
	if b.PausedAt.IsZero() {
		return "Not needed: it is not paused."
	}
	return ""
}

func whyNotCancel(b Batch) string {
	switch {
	case b.Status.Terminal():
		return hasEnded
	case b.Status == batch.Cancelling:
		return "Not needed: it is being cancelled."
	default:
		return ""
	}
}

func whyNotRetry(b Batch) string {
	switch {
	case !b.Status.Terminal():
		return "Not possible: it has not ended."
	case b.Counts.Failed == 0:
		return "Not needed: none of its lines failed."
	default:
		return ""
	}
}

func whyNotDelete(b Batch) string {
	if !b.Status.Terminal() {
		return "Not possible: it has not ended. Cancel it first."
	}
	return ""
}

// bulkButtons are the actions that the list of batches offers to a reader. One who may
// control only batches of the own key gets the result for each batch.
func (d *Dashboard) bulkButtons(s templates.Site) []templates.BulkAction {
	buttons := make([]templates.BulkAction, 0, len(bulkActions))
	for _, a := range bulkActions {
		controls := actionOf(a).controls
		if a.name == "retry" && !d.creates() || !s.Writes && (!controls || !s.Operates) {
			continue
		}
		buttons = append(buttons, templates.BulkAction{Name: a.name, Button: a.button, Danger: a.danger})
	}
	return buttons
}

// bulk applies an action to all selected batches, or asks for confirmation. Each
// batch has its own result: one that does not allow the action does not affect
// others.
func (d *Dashboard) bulk(w http.ResponseWriter, r *http.Request) error {
	if !d.form(w, r) {
		return nil
	}
	i := slices.IndexFunc(bulkActions, func(a bulkAction) bool { return a.name == r.PostForm.Get("action") })
	if i < 0 {
		return refuse(http.StatusBadRequest, "Unknown action.")
	}
	a, ids := bulkActions[i], picked(r.PostForm["batch"])
	if a.name == "retry" && !d.creates() {
		return errCreatesNothing
	}
	switch {
	case len(ids) == 0:
		return refuse(http.StatusBadRequest, "No batch is selected. Go back and select batches in the list.")
	case len(ids) > maxPicked:
		return refuse(http.StatusBadRequest, "At most %d batches can be selected at once.", maxPicked)
	}
	found, err := d.source.Batches.Some(r.Context(), ids)
	if err != nil {
		return err
	}
	v := templates.Bulk{Here: back(r.PostForm.Get("back"))}
	v.Back = templates.Site{Base: d.base}.Below(v.Here)
	ask := a.asks && r.PostForm.Get("sure") == ""
	for _, id := range ids {
		row := templates.BulkRow{ID: id, Name: id, Text: "Not found. It may have been deleted."}
		if at := slices.IndexFunc(found, func(b Batch) bool { return b.ID == id }); at >= 0 {
			b := batchRow(found[at], d.now())
			row.Name, row.State, row.Text = b.Name(), b.State, a.whyNot(found[at])
			switch {
			case row.Text != "":
			case ask:
				row.OK, row.Text = true, foretell(a, b)
			default:
				d.doOne(r, a, found[at].KeyID, &row)
			}
		}
		if row.OK {
			v.Able++
		}
		v.Rows = append(v.Rows, row)
	}
	total := templates.Plural(int64(len(v.Rows)), "batch", "batches")
	switch {
	case !ask:
		d.broadcaster.outdate()
		v.Title = fmt.Sprintf("%s: done for %d of %s", a.verb, v.Able, total)
	case v.Able == 0:
		v.Title, v.Action = a.title, a.name
		v.Text = []string{"None of the selected batches allows this."}
	default:
		v.Title, v.Text, v.Action, v.Danger = a.title, []string{a.text}, a.name, a.danger
		v.Button = fmt.Sprintf("%s %s", a.verb, templates.Plural(int64(v.Able), "batch", "batches"))
		if a.name == "delete" {
			v.Option, v.OptionText = "input", "Delete their input files as well, unless something else uses them"
		}
	}
	s := d.site(r, "Batches", v.Title)
	s.Path = v.Here // do not return to an action
	return d.render(w, r, http.StatusOK, templates.BulkPage(s, v))
}

// picked returns the selected ids without duplicates.
func picked(all []string) []string {
	var ids []string
	for _, id := range all {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// foretell returns what an action would do to a batch.
func foretell(a bulkAction, b templates.BatchRow) string {
	switch a.name {
	case "cancel":
		return templates.Plural(b.Bar.Total-b.Bar.Completed-b.Bar.Failed, "line", "lines") + " without a result will have none."
	case "retry":
		return templates.Plural(b.Bar.Total-b.Bar.Completed, "line", "lines") + " will run again, unless the batch was repeated before."
	default:
		return templates.Plural(b.Bar.Completed, "completed line", "completed lines") + " and " + templates.Plural(b.Bar.Failed, "failed line", "failed lines") + " are lost."
	}
}

// actionOf returns the action on one batch.
func actionOf(a bulkAction) batchAction {
	return batchActions[slices.IndexFunc(batchActions, func(one batchAction) bool { return one.name == a.name })]
}

// doOne applies an action to one batch, which a key made, and sets the result.
func (d *Dashboard) doOne(r *http.Request, a bulkAction, keyID string, row *templates.BulkRow) {
	action := actionOf(a)
	if err := action.check(d.client(r), keyID); err != nil {
		row.Text = err.Error()
		return
	}
	to, _, err := action.do(r.Context(), d.source.Batches, row.ID, r.PostForm)
	if err != nil {
		d.logTrouble(r, err)
		row.Text, _ = told(err)
		return
	}
	row.OK, row.Text = true, a.done
	if a.name == "retry" {
		row.Made = to[len(to)-1]
	}
}
