package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// apply answers as the API server does to a create (there is no old object) or a replacement, with strict field
// validation: what it would store, or its errors.
func (r *customResource) apply(ctx context.Context, c testCase) (map[string]any, []string) {
	if c.OldObject == nil {
		return r.create(ctx, c.Object)
	}
	before, errs := r.create(ctx, c.OldObject)
	if len(errs) > 0 {
		return nil, prefixed("oldObject: ", errs)
	}
	updates := r.statuses
	if c.Subresource == "" {
		updates = r.updates
		// What the cluster has tolerated once it goes on tolerating (ratcheting, always on since 1.33). Creating the
		// new object too is what finds its mistakes on every version.
		_, errs = r.create(ctx, c.Object)
	}
	after, decodeErrs := r.decode(c.Object)
	if len(decodeErrs) > 0 {
		return nil, append(errs, decodeErrs...)
	}
	stored := &unstructured.Unstructured{Object: before}
	stored.SetUID("00000000-0000-0000-0000-000000000001")
	stored.SetResourceVersion("1")
	after.SetUID(stored.GetUID())
	after.SetResourceVersion("1")
	after.SetCreationTimestamp(stored.GetCreationTimestamp())
	if after.GetNamespace() == "" {
		after.SetNamespace(stored.GetNamespace())
	}
	err := rest.BeforeUpdate(updates, inNamespaceOf(ctx, stored), after, stored)
	return after.Object, append(errs, messages(err)...)
}

func (r *customResource) create(ctx context.Context, object map[string]any) (map[string]any, []string) {
	u, errs := r.decode(object)
	if len(errs) > 0 {
		return nil, errs
	}
	if u.GetNamespace() == "" {
		u.SetNamespace("default")
	}
	rest.FillObjectMetaSystemFields(u)
	return u.Object, messages(rest.BeforeCreate(r.creates, inNamespaceOf(ctx, u), u))
}

// decode is the handler's decoder (defaulter, then schemaCoercingDecoder), which apiextensions does not export.
func (r *customResource) decode(object map[string]any) (*unstructured.Unstructured, []string) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, []string{err.Error()}
	}
	u := &unstructured.Unstructured{}
	if _, _, err := unstructured.UnstructuredJSONScheme.Decode(data, nil, u); err != nil {
		return nil, []string{err.Error()}
	}
	if found := u.GroupVersionKind(); found != r.kind {
		return nil, []string{fmt.Sprintf("the object provided is %v, want %v", found, r.kind)}
	}
	structuraldefaulting.Default(u.Object, r.structural)

	meta, found, unknown, err := schemaobjectmeta.GetObjectMetaWithOptions(u.Object,
		schemaobjectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, []string{err.Error()}
	}
	unknown = append(unknown, structuralpruning.PruneWithOptions(u.Object, r.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	structuraldefaulting.PruneNonNullableNullsWithoutDefaults(u.Object, r.structural)
	u.SetGroupVersionKind(r.kind)
	if found {
		if err := schemaobjectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, []string{err.Error()}
		}
	}
	var errs []string
	for _, path := range unknown {
		errs = append(errs, fmt.Sprintf("unknown field %q", path))
	}
	return u, errs
}

func inNamespaceOf(ctx context.Context, u *unstructured.Unstructured) context.Context {
	return genericapirequest.WithNamespace(ctx, u.GetNamespace())
}

// messages are the causes inside an API error, one each.
func messages(err error) []string {
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil && len(status.ErrStatus.Details.Causes) > 0 {
		var all []string
		for _, cause := range status.ErrStatus.Details.Causes {
			all = append(all, cause.Field+": "+cause.Message)
		}
		return all
	}
	return []string{err.Error()}
}

func prefixed(prefix string, texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = prefix + text
	}
	return all
}

// normal is value with the number types that JSON has, so that values from YAML and from the decoder compare.
func normal(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return err.Error()
	}
	return plain
}
