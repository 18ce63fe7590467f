package access

import "slices"

// Sees reports whether the client may learn of a model: that servers have it, how it is
// used, and what is wrong with it. Clients that are limited to some models see only these.
// "" is no model, or an unknown one, and has no name that could be learned.
func (id Identity) Sees(model string) bool { return model == "" || id.MayUse(model) }

// SeesKey reports whether the client may learn of a key: it sees all models that the key
// names.
func (id Identity) SeesKey(k Key) bool {
	return !slices.ContainsFunc(k.Models, func(model string) bool { return !id.Sees(model) })
}

// SeesTenants reports whether the client may see the objects, the usage and the history of
// all tenants, which name the models of all.
func (id Identity) SeesTenants() bool { return id.May(Admin) && len(id.Models) == 0 }

// Visible returns the elements that are about models that the client sees. model returns
// the model of an element, "" for none. The list is not changed.
func Visible[T any](id Identity, list []T, model func(T) string) []T {
	if len(id.Models) == 0 {
		return list
	}
	visible := make([]T, 0, len(list))
	for _, element := range list {
		if id.Sees(model(element)) {
			visible = append(visible, element)
		}
	}
	return visible
}

// VisibleModels is Visible for names of models.
func VisibleModels(id Identity, models []string) []string {
	return Visible(id, models, func(model string) string { return model })
}
