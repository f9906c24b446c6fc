// Command crd-check asks the API server's own code about a CustomResourceDefinition and about objects of its kind,
// without a server: crd-check CRD.yaml [CASES.yaml].
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// A testCase says what the API server is to make of an object.
type testCase struct {
	Name string `json:"name"`
	// What is applied.
	Object map[string]any `json:"object"`
	// What is there already; absent: Object is created.
	OldObject map[string]any `json:"oldObject"`
	// "status": what is applied to is the subresource.
	Subresource string `json:"subresource"`
	Valid       bool   `json:"valid"`
	// A part of one of the errors.
	Error string `json:"error"`
	// The spec after defaulting.
	Defaulted map[string]any `json:"defaulted"`
}

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: crd-check CRD.yaml [CASES.yaml]")
		os.Exit(2)
	}
	ok, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "crd-check:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(crdFile string, casesFiles []string) (bool, error) {
	ctx := context.Background()
	crd, complaints, err := loadCRD(ctx, crdFile)
	if err != nil {
		return false, err
	}
	for _, complaint := range complaints {
		fmt.Printf("FAIL %s: %s\n", crdFile, complaint)
	}
	if len(complaints) > 0 {
		return false, nil
	}
	fmt.Printf("ok   %s\n", crdFile)
	ok := true
	for _, file := range casesFiles {
		passed, err := runCases(ctx, crd, file)
		if err != nil {
			return false, err
		}
		ok = ok && passed
	}
	return ok, nil
}

func runCases(ctx context.Context, crd *customResource, file string) (bool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	var cases []testCase
	if err := yaml.UnmarshalStrict(data, &cases); err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	if len(cases) == 0 {
		return false, fmt.Errorf("%s: no cases", file)
	}
	ok := true
	for _, c := range cases {
		if mismatch := c.check(ctx, crd); mismatch != "" {
			ok = false
			fmt.Printf("FAIL %s: %s\n", c.Name, mismatch)
		} else {
			fmt.Printf("ok   %s\n", c.Name)
		}
	}
	return ok, nil
}

// check returns how the API server's answer differs from what the case wants; empty: it does not.
func (c testCase) check(ctx context.Context, crd *customResource) string {
	stored, errs := crd.apply(ctx, c)
	all := strings.Join(errs, "; ")
	switch {
	case c.Valid && len(errs) > 0:
		return "want valid, found: " + all
	case !c.Valid && len(errs) == 0:
		return "want invalid, found valid"
	case !c.Valid && c.Error == "":
		return "an invalid case says a part of the error; found: " + all
	case !c.Valid && !strings.Contains(all, c.Error):
		return fmt.Sprintf("want an error with %q, found: %s", c.Error, all)
	case c.Defaulted != nil && !reflect.DeepEqual(normal(stored["spec"]), normal(c.Defaulted)):
		return fmt.Sprintf("want spec %v, found %v", normal(c.Defaulted), normal(stored["spec"]))
	}
	return ""
}
