package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// Keys manages API keys. The methods act for the client of the context, and check its
// rights.
type Keys interface {
	// Keys returns all managed keys, the newest first.
	Keys(ctx context.Context) ([]access.Key, error)
	// Key returns a managed key.
	Key(ctx context.Context, id string) (access.Key, error)
	// Configured returns the keys of the configuration, which cannot be changed.
	Configured() []access.Key
	// Tenants returns the names of known tenants, without I/O.
	Tenants() []string
	// Create makes a key, and returns it with its secret.
	Create(ctx context.Context, n access.NewKey) (k access.Key, secret string, err error)
	// Rotate replaces the secret of a key and returns the new one. The previous one is
	// accepted for overlap.
	Rotate(ctx context.Context, id string, overlap time.Duration) (k access.Key, secret string, err error)
	// ChangeLimits changes some limits of a key.
	ChangeLimits(ctx context.Context, id string, change access.LimitsChange) (access.Key, error)
	// Revoke revokes a key. A revoked one is returned unchanged.
	Revoke(ctx context.Context, id string) (access.Key, error)
}

// keysPerPage is the page size of the list.
const keysPerPage = 25

// States of keys, as the filter of the list has them; "" are those that are valid.
const (
	allKeys    = "all"
	keyValid   = "valid"
	keyExpired = "expired"
	keyRevoked = "revoked"
)

func (d *Dashboard) keyList(w http.ResponseWriter, r *http.Request) error {
	keys, err := d.source.Keys.Keys(r.Context())
	if err != nil {
		return err
	}
	s := d.site(r, "Keys", "API keys")
	query, configured := r.URL.Query(), d.source.Keys.Configured()
	v := templates.KeyList{
		Tenant: query.Get("tenant"), Text: query.Get("q"), All: query.Get("show") == allKeys, Tenants: tenantsOf(keys, configured),
		Pages: templates.Pages{What: "Pages of keys"}, Open: len(configured) == 0 && !slices.ContainsFunc(keys, func(k access.Key) bool { return k.RevokedAt.IsZero() }),
	}
	if len(v.Text) > maxText {
		return refuse(http.StatusBadRequest, "The search text is too long.")
	}
	wanted := func(k access.Key) bool {
		return (v.Tenant == "" || k.Tenant == v.Tenant) && (v.Text == "" || strings.Contains(strings.ToLower(k.Name), strings.ToLower(v.Text)) || strings.Contains(k.ID, v.Text))
	}
	after := query.Get("after")
	from := 0
	if after != "" {
		if from = 1 + slices.IndexFunc(keys, func(k access.Key) bool { return k.ID == after }); from == 0 {
			return batch.ErrBadCursor
		}
	}
	client, names := d.client(r), namesOf(keys, configured)
	for _, k := range keys[from:] {
		if !wanted(k) || !v.All && keyState(k, s.Now) != keyValid {
			continue
		}
		if len(v.Rows) == keysPerPage {
			v.Pages.Next = s.With(s.To("keys"), "tenant", v.Tenant, "q", v.Text, "show", query.Get("show"), "after", v.Rows[keysPerPage-1].ID)
			break
		}
		row := keyRow(k, s.Now)
		row.By = cmp.Or(names[k.CreatedBy], k.CreatedBy)
		row.Own = k.ID == client.KeyID
		row.CanRevoke = k.RevokedAt.IsZero()
		row.CanRotate = row.State == keyValid && client.Covers(k) == nil
		row.CanLimit = row.State == keyValid && mayLimit(client, k)
		v.Rows = append(v.Rows, row)
	}
	if after != "" {
		v.Pages.First = s.With(s.To("keys"), "tenant", v.Tenant, "q", v.Text, "show", query.Get("show"))
		configured = nil // they are on the first page
	}
	for _, k := range configured {
		if wanted(k) && client.SeesKey(k) {
			row := keyRow(k, s.Now)
			row.Own = k.ID == client.KeyID
			v.Configured = append(v.Configured, row)
		}
	}
	return d.render(w, r, http.StatusOK, templates.KeysPage(s, v))
}

// tenantsOf returns the tenants of keys in order.
func tenantsOf(lists ...[]access.Key) []string {
	var names []string
	for _, keys := range lists {
		for i := range keys {
			names = append(names, keys[i].Tenant)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namesOf returns the names of keys by their ids.
func namesOf(lists ...[]access.Key) map[string]string {
	names := make(map[string]string)
	for _, keys := range lists {
		for i := range keys {
			names[keys[i].ID] = keys[i].Name
		}
	}
	return names
}

func keyState(k access.Key, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return keyRevoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return keyExpired
	default:
		return keyValid
	}
}

func keyRow(k access.Key, now time.Time) templates.KeyRow {
	row := templates.KeyRow{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, State: keyState(k, now), Models: k.Models,
		Created: k.CreatedAt, Expires: k.ExpiresAt, Revoked: k.RevokedAt,
	}
	for _, scope := range k.Scopes {
		row.Scopes = append(row.Scopes, string(scope))
	}
	if row.State == keyValid && now.Before(k.PreviousUntil) {
		row.PreviousUntil = k.PreviousUntil
	}
	for _, f := range k.Limits.Fields() {
		if *f.Value > 0 {
			row.Limits = append(row.Limits, templates.KeyLimit{Name: f.Name, Value: limitText(f)})
		}
	}
	return row
}

// limitText returns the value of a limit for readers.
func limitText(f access.LimitField) string {
	if f.Money {
		return f.String()
	}
	return templates.Count(*f.Value)
}

func (d *Dashboard) newKey(w http.ResponseWriter, r *http.Request) error {
	f := templates.KeyForm{Tenant: d.client(r).Tenant, Scopes: []string{string(access.Live), string(access.Batch)}}
	return d.keyForm(w, r, http.StatusOK, f)
}

// keyForm answers with the form for a new key, with the values of f.
func (d *Dashboard) keyForm(w http.ResponseWriter, r *http.Request, status int, f templates.KeyForm) error {
	keys, err := d.source.Keys.Keys(r.Context())
	if err != nil {
		return err
	}
	configured := d.source.Keys.Configured()
	f.Tenants = tenantsOf(keys, configured)
	f.First = len(configured) == 0 && !slices.ContainsFunc(keys, func(k access.Key) bool { return k.RevokedAt.IsZero() })
	for _, s := range access.Scopes {
		f.AllScopes = append(f.AllScopes, string(s))
	}
	if f.Limits == nil {
		f.Limits = make(map[string]string)
	}
	for _, l := range new(access.Limits).Fields() {
		f.AllLimits = append(f.AllLimits, l.Name)
	}
	if f.Once == "" {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		f.Once = hex.EncodeToString(random[:])
	}
	s := d.site(r, "Keys", "New API key")
	s.Path = "/keys/new" // to return to with GET
	return d.render(w, r, status, templates.NewKeyPage(s, f))
}

// createKey makes a key and shows it, in the response to the form: a redirect would need
// its secret in a URL or in the memory of the gateway.
func (d *Dashboard) createKey(w http.ResponseWriter, r *http.Request) error {
	if !d.form(w, r) {
		return nil
	}
	f := keyFormOf(r.PostForm)
	n, err := d.newKeyOf(r, f)
	var k access.Key
	var secret string
	if err == nil {
		k, secret, err = d.source.Keys.Create(r.Context(), n)
	}
	if err != nil {
		status, text := answerTo(err)
		if status >= http.StatusInternalServerError {
			return err
		}
		f.Wrong, f.Name, f.Tenant, f.Models = text, printable(f.Name), printable(f.Tenant), printable(f.Models)
		return d.keyForm(w, r, status, f)
	}
	s := d.site(r, "Keys", "The key was made")
	return d.showSecret(w, r, s, k, secret)
}

// printable returns a text without characters that cannot be printed, except line ends.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, text)
}

func keyFormOf(form url.Values) templates.KeyForm {
	f := templates.KeyForm{
		Once: form.Get("once"), Name: form.Get("name"), Tenant: form.Get("tenant"), Scopes: form["scope"],
		Models: form.Get("models"), Expires: form.Get("expires"), Limits: make(map[string]string),
	}
	for _, l := range new(access.Limits).Fields() {
		f.Limits[l.Name] = strings.TrimSpace(form.Get(l.Name))
	}
	return f
}

// newKeyOf returns the key that a form describes.
func (d *Dashboard) newKeyOf(r *http.Request, f templates.KeyForm) (n access.NewKey, err error) {
	n = access.NewKey{Name: strings.TrimSpace(f.Name), Tenant: strings.TrimSpace(f.Tenant), Scopes: f.Scopes}
	if f.Once != "" {
		n.ID = "key_" + f.Once
	}
	if len(f.Scopes) == 0 {
		return n, refuse(http.StatusBadRequest, "Choose at least one scope.")
	}
	for model := range strings.Lines(f.Models) {
		if model = strings.TrimSpace(model); model != "" && !slices.Contains(n.Models, model) {
			n.Models = append(n.Models, model)
		}
	}
	for _, l := range n.Limits.Fields() {
		text := f.Limits[l.Name]
		if text == "" {
			continue
		}
		if err := l.Parse(text); err != nil {
			return n, refuse(http.StatusBadRequest, "%s.", err)
		}
	}
	_, end, ok := dayIn(f.Expires, d.site(r, "", "").Zone)
	if !ok {
		return n, refuse(http.StatusBadRequest, "The last day is not a date.")
	}
	if n.ExpiresAt = end; !end.IsZero() && !end.After(d.now()) {
		return n, refuse(http.StatusBadRequest, "The last day has passed.")
	}
	return n, nil
}

// showSecret shows the secret of a key, once.
func (d *Dashboard) showSecret(w http.ResponseWriter, r *http.Request, s templates.Site, k access.Key, secret string) error {
	s.Path = "/keys" // not the action
	return d.render(w, r, http.StatusOK, templates.KeySecretPage(s, templates.KeySecret{KeyRow: keyRow(k, s.Now), Secret: secret}))
}

// overlaps are the times for which the previous secret of a key may be accepted after a
// rotation.
var overlaps = []time.Duration{0, time.Hour, day, 7 * day, 30 * day}

func overlapText(t time.Duration) string {
	if t == 0 {
		return "not at all"
	}
	return spanText(t)
}

func (d *Dashboard) askRotateKey(w http.ResponseWriter, r *http.Request) error {
	k, err := d.source.Keys.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	s := d.site(r, "Keys", "Replace this key?")
	c := d.keyQuestion(r, s, k)
	c.Button, c.Action = "Replace the key", s.To("keys", k.ID, "rotate")
	c.Text = append([]string{"It gets a new secret, which is shown once. Name, rights and limits stay."}, c.Text...)
	c.Choice, c.ChoiceText = "overlap", "How long the previous secret is still accepted"
	for _, t := range overlaps {
		c.Choices = append(c.Choices, templates.Pair{Name: t.String(), Value: overlapText(t)})
	}
	return d.render(w, r, http.StatusOK, templates.ConfirmPage(s, c))
}

// keyQuestion returns what questions about a key have in common.
func (d *Dashboard) keyQuestion(r *http.Request, s templates.Site, k access.Key) templates.Confirmation {
	c := templates.Confirmation{Title: s.Title, Subject: keySubject(k), Back: s.To("keys")}
	if k.ID == d.client(r).KeyID {
		c.Text = append(c.Text, "This is the key that you are using now.")
	}
	return c
}

func keySubject(k access.Key) string {
	return fmt.Sprintf("%s (%s) of the tenant %s", k.Name, k.ID, k.Tenant)
}

func (d *Dashboard) rotateKey(w http.ResponseWriter, r *http.Request) error {
	if !d.form(w, r) {
		return nil
	}
	overlap, err := time.ParseDuration(r.PostForm.Get("overlap"))
	if err != nil || !slices.Contains(overlaps, overlap) {
		return refuse(http.StatusBadRequest, "Choose how long the previous secret is still accepted.")
	}
	k, secret, err := d.source.Keys.Rotate(r.Context(), r.PathValue("id"), overlap)
	if err != nil {
		return err
	}
	return d.showSecret(w, r, d.site(r, "Keys", "The key was replaced"), k, secret)
}

// mayLimit reports whether a client may change the limits of a key, to some values.
func mayLimit(client access.Identity, k access.Key) bool {
	k.Limits = client.Limits
	return client.Covers(k) == nil
}

func (d *Dashboard) keyLimits(w http.ResponseWriter, r *http.Request) error {
	k, err := d.source.Keys.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	f := templates.KeyLimitsForm{}
	for _, l := range k.Limits.Fields() {
		value := ""
		if *l.Value > 0 {
			value = l.String()
		}
		f.Fields = append(f.Fields, templates.KeyLimitField{Name: l.Name, Value: value, Was: value})
	}
	return d.keyLimitsForm(w, r, http.StatusOK, k, f)
}

// keyLimitsForm answers with the form for the limits of a key, with the values of f.
func (d *Dashboard) keyLimitsForm(w http.ResponseWriter, r *http.Request, status int, k access.Key, f templates.KeyLimitsForm) error {
	s := d.site(r, "Keys", "Limits of an API key")
	s.Path = "/keys/" + k.ID + "/limits" // to return to with GET
	f.ID, f.Subject, f.Own = k.ID, keySubject(k), k.ID == d.client(r).KeyID
	f.Changeable = keyState(k, s.Now) == keyValid
	return d.render(w, r, status, templates.KeyLimitsPage(s, f))
}

func (d *Dashboard) changeKeyLimits(w http.ResponseWriter, r *http.Request) error {
	if !d.form(w, r) {
		return nil
	}
	k, err := d.source.Keys.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	f, change, err := keyLimitsOf(r.PostForm)
	if err == nil && len(change) > 0 {
		_, err = d.source.Keys.ChangeLimits(r.Context(), k.ID, change)
	}
	if err != nil {
		status, text := answerTo(err)
		if status >= http.StatusInternalServerError {
			return err
		}
		f.Wrong = text
		return d.keyLimitsForm(w, r, status, k, f)
	}
	d.went(w, r, "limits", "keys")
	return nil
}

// keyLimitsOf returns the form that was sent, and what it changes: only what differs from the
// values when it was opened, so that a form does not undo another change.
func keyLimitsOf(form url.Values) (f templates.KeyLimitsForm, change access.LimitsChange, err error) {
	change = make(access.LimitsChange)
	for _, l := range new(access.Limits).Fields() {
		field := templates.KeyLimitField{Name: l.Name, Value: printable(strings.TrimSpace(form.Get(l.Name))), Was: printable(form.Get(templates.WasPrefix + l.Name))}
		f.Fields = append(f.Fields, field)
		if field.Value == field.Was {
			continue
		}
		if wrong := change.Set(l.Name, field.Value); wrong != nil && err == nil {
			err = refuse(http.StatusBadRequest, "%s.", wrong)
		}
	}
	return f, change, err
}

func (d *Dashboard) askRevokeKey(w http.ResponseWriter, r *http.Request) error {
	k, err := d.source.Keys.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	s := d.site(r, "Keys", "Revoke this key?")
	c := d.keyQuestion(r, s, k)
	c.Button, c.Danger, c.Action = "Revoke the key", true, s.To("keys", k.ID, "revoke")
	c.Text = append([]string{
		"All gateways refuse it within 5 s. This cannot be undone.",
		"Running requests and batches that it made continue.",
	}, c.Text...)
	return d.render(w, r, http.StatusOK, templates.ConfirmPage(s, c))
}

func (d *Dashboard) revokeKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := d.source.Keys.Revoke(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	d.went(w, r, "revoked", "keys")
	return nil
}
