package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"
)

// customResource is the first version of a CRD, ready to judge objects.
type customResource struct {
	kind       schema.GroupVersionKind
	structural *structuralschema.Structural
	creates    rest.RESTCreateStrategy
	updates    rest.RESTUpdateStrategy
	statuses   rest.RESTUpdateStrategy
}

// loadCRD does to the CRD what creating it does. Complaints are what the API server would answer.
func loadCRD(ctx context.Context, file string) (*customResource, []string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &external); err != nil {
		return nil, []string{err.Error()}, nil
	}
	if lost, err := lostFields(data, external); err != nil || len(lost) > 0 {
		return nil, lost, err
	}

	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(&external)
	var internal apiextensions.CustomResourceDefinition
	if err := scheme.Convert(&external, &internal, nil); err != nil {
		return nil, []string{err.Error()}, nil
	}
	create := customresourcedefinition.NewStrategy(scheme)
	create.PrepareForCreate(ctx, &internal)
	var complaints []string
	for _, err := range create.Validate(ctx, &internal) {
		complaints = append(complaints, err.Error())
	}
	for _, warning := range create.WarningsOnCreate(ctx, &internal) {
		complaints = append(complaints, "warning: "+warning)
	}
	if len(complaints) > 0 {
		return nil, complaints, nil
	}
	resource, err := newCustomResource(&internal)
	return resource, nil, err
}

// lostFields names what decoding has dropped. Strict decoding does not see below `items` and `additionalProperties`,
// which have decoders of their own.
func lostFields(data []byte, decoded any) ([]string, error) {
	var before, after any
	if err := yaml.Unmarshal(data, &before); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(decoded)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, &after); err != nil {
		return nil, err
	}
	return compareFields("", before, after), nil
}

func compareFields(path string, before, after any) []string {
	var lost []string
	switch before := before.(type) {
	case map[string]any:
		after, _ := after.(map[string]any)
		for key, value := range before {
			if _, found := after[key]; !found {
				lost = append(lost, fmt.Sprintf("unknown field %s.%s", path, key))
				continue
			}
			lost = append(lost, compareFields(path+"."+key, value, after[key])...)
		}
	case []any:
		after, _ := after.([]any)
		for i, value := range before {
			if i < len(after) {
				lost = append(lost, compareFields(fmt.Sprintf("%s[%d]", path, i), value, after[i])...)
			}
		}
	}
	return lost
}

func newCustomResource(crd *apiextensions.CustomResourceDefinition) (*customResource, error) {
	version := crd.Spec.Versions[0]
	props := crd.Spec.Validation
	if version.Schema != nil {
		props = version.Schema
	}
	structural, err := structuralschema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	var statusValidator validation.SchemaValidator
	if status, found := props.OpenAPIV3Schema.Properties["status"]; found {
		if statusValidator, _, err = validation.NewSchemaValidator(&status); err != nil {
			return nil, err
		}
	}
	subresources := crd.Spec.Subresources
	if version.Subresources != nil {
		subresources = version.Subresources
	}
	if subresources == nil {
		subresources = &apiextensions.CustomResourceSubresources{}
	}
	kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
	strategy := customresource.NewStrategy(crdserverscheme.NewUnstructuredObjectTyper(),
		crd.Spec.Scope == apiextensions.NamespaceScoped, kind, validator, statusValidator, structural,
		subresources.Status, subresources.Scale, nil)
	return &customResource{
		kind:       kind,
		structural: structural,
		creates:    strategy,
		updates:    strategy,
		statuses:   customresource.NewStatusStrategy(strategy),
	}, nil
}
