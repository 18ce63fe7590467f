package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// notices are the texts shown after an action, by the value of the query.
var notices = map[string]string{
	"cancelled":   "The batch is being cancelled. What has finished is kept.",
	"deleted":     "It was deleted.",
	"retried":     "This batch repeats the lines that failed.",
	"paused":      "No more lines of this batch start until it is resumed.",
	"resumed":     "The batch was resumed.",
	"prioritized": "The priority was changed.",
	"created":     "The batch was created.",
	"uploaded":    "The file was stored and checked.",
	"stored":      "The files were stored. Choose “new batch” in the row of one to check it and to create a batch.",
	"draining":    "The server gets no new requests.",
	"limits":      "The limits were changed. All gateways apply them within 5 s.",
	"revoked":     "The key was revoked. All gateways refuse it within 5 s.",
	"undrained":   "The server gets requests again.",
}

// batchAction is an action on a batch.
type batchAction struct {
	name string
	// ask returns the confirmation page; nil if the action destroys nothing.
	ask func(b templates.Batch) templates.Confirmation
	// do executes the action and returns the path to redirect to, below the base.
	do func(ctx context.Context, b Batches, id string, form url.Values) (to []string, done string, err error)
	// reads is true if it reads complete files, which may take long.
	reads bool
	// creates is true if it creates a batch, and reads complete files for that.
	creates bool
	// controls is true if the scope batch allows it for batches of the client's own key
	// only, and the scope operate for all.
	controls bool
}

// scope returns the scope that all clients with the action have.
func (a batchAction) scope() access.Scope {
	if a.controls {
		return access.Read
	}
	return access.Batch
}

// check returns the error for a client that may not execute the action on a batch that a
// key made.
func (a batchAction) check(client access.Identity, keyID string) error {
	switch {
	case !a.controls && !client.May(access.Batch):
		return missingScope(access.Batch)
	case a.controls && !client.May(access.Operate) && (!client.May(access.Batch) || !client.Owns(keyID)):
		return missingScope(access.Operate)
	}
	return nil
}

// permitted returns the endpoint of an action for clients that may execute it.
func (d *Dashboard) permitted(a batchAction, do endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		client := d.client(r)
		if a.controls && !client.May(access.Operate) {
			b, err := d.source.Batches.Some(r.Context(), []string{r.PathValue("id")})
			if err != nil {
				return err
			}
			if len(b) == 0 {
				return batch.ErrNotFound
			}
			if err := a.check(client, b[0].KeyID); err != nil {
				return err
			}
		}
		return do(w, r)
	}
}

var batchActions = []batchAction{
	{
		name: "cancel",
		ask: func(b templates.Batch) templates.Confirmation {
			left := b.Bar.Total - b.Bar.Completed - b.Bar.Failed
			return templates.Confirmation{
				Title: "Cancel this batch?",
				Text: []string{
					templates.Plural(b.Bar.Completed, "completed line is", "completed lines are") + " kept in the output file.",
					templates.Plural(left, "line has", "lines have") + " no result, and will have none: running lines are aborted.",
					"A cancelled batch cannot be resumed.",
				},
				Button: "Cancel the batch", Danger: true,
			}
		},
		do: func(ctx context.Context, b Batches, id string, _ url.Values) ([]string, string, error) {
			return []string{"batches", id}, "cancelled", b.Cancel(ctx, id)
		},
	},
	{
		name: "delete",
		ask: func(b templates.Batch) templates.Confirmation {
			return templates.Confirmation{
				Title: "Delete this batch?",
				Text: []string{
					"The batch, its output file and its error file are deleted permanently.",
					"They have " + templates.Plural(b.Bar.Completed, "completed line", "completed lines") + " and " + templates.Plural(b.Bar.Failed, "failed line", "failed lines") + ".",
				},
				Button: "Delete the batch", Danger: true,
				Option: "input", OptionText: "Delete the input file as well, unless something else uses it",
			}
		},
		do: func(ctx context.Context, b Batches, id string, form url.Values) ([]string, string, error) {
			return []string{"batches"}, "deleted", b.Delete(ctx, id, form.Get("input") != "")
		},
	},
	{
		name: "retry",
		ask: func(b templates.Batch) templates.Confirmation {
			return templates.Confirmation{
				Title: "Repeat the lines that failed?",
				Text: []string{
					"A new batch is made of the " + templates.Plural(b.Bar.Failed, "line", "lines") + " that failed. This one stays as it is.",
				},
				Button: "Create the batch",
			}
		},
		do: func(ctx context.Context, b Batches, id string, _ url.Values) ([]string, string, error) {
			made, err := b.RetryFailed(ctx, id)
			return []string{"batches", made}, "retried", err
		},
		creates: true,
	},
	{
		name: "pause", controls: true,
		do: func(ctx context.Context, b Batches, id string, _ url.Values) ([]string, string, error) {
			return []string{"batches", id}, "paused", b.Pause(ctx, id)
		},
	},
	{
		name: "resume", controls: true,
		do: func(ctx context.Context, b Batches, id string, _ url.Values) ([]string, string, error) {
			return []string{"batches", id}, "resumed", b.Resume(ctx, id)
		},
	},
	{
		name: "priority", controls: true,
		do: func(ctx context.Context, b Batches, id string, form url.Values) ([]string, string, error) {
			priority, err := readPriority(form.Get("priority"))
			if err != nil {
				return nil, "", err
			}
			return []string{"batches", id}, "prioritized", b.SetPriority(ctx, id, priority)
		},
	},
}

func readPriority(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < minPriority || n > maxPriority {
		return 0, refuse(http.StatusBadRequest, "A priority is a whole number from %d to %d.", minPriority, maxPriority)
	}
	return n, nil
}

// askBatch serves the confirmation page of an action.
func (d *Dashboard) askBatch(a batchAction) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.creates && !d.creates() {
			return errCreatesNothing
		}
		b, err := d.source.Batches.Batch(r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		v := d.batchModel(b, d.now())
		c := a.ask(v)
		s := d.site(r, "Batches", c.Title)
		c.Subject, c.Action, c.Back = v.Name(), s.To("batches", b.ID, a.name), s.To("batches", b.ID)
		return d.render(w, r, http.StatusOK, templates.ConfirmPage(s, c))
	}
}

// doBatch executes an action.
func (d *Dashboard) doBatch(a batchAction) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !d.form(w, r) {
			return nil
		}
		to, done, err := a.do(r.Context(), d.source.Batches, r.PathValue("id"), r.PostForm)
		if err != nil {
			return err
		}
		d.went(w, r, done, to...)
		return nil
	}
}

// went redirects after an action.
func (d *Dashboard) went(w http.ResponseWriter, r *http.Request, done string, to ...string) {
	d.broadcaster.outdate()
	s := templates.Site{Base: d.base}
	http.Redirect(w, r, string(s.With(s.To(to...), "done", done)), http.StatusSeeOther)
}
