package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// eventReaders are the packages that read events of mail and add none.
var eventReaders = []string{
	"mailstore/track", "cmd/internal/alert", "cmd/internal/doctor", "cmd/internal/metrics",
	"cmd/internal/statistics", "cmd/internal/traffic", "cmd/pillarbox",
}

// TestEveryEventIsAdded finds a kind of event that is declared, documented and counted, but that no
// part of the server adds.
func TestEveryEventIsAdded(t *testing.T) {
	kinds := eventKinds(t)
	if len(kinds) < 20 {
		t.Fatalf("only the kinds %v were found", kinds)
	}
	added := make(map[string]bool)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil || slices.Contains(eventReaders, filepath.ToSlash(dir)) {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "track" {
					added[s.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if !added[kind] {
			t.Errorf("no package adds an event track.%s", kind)
		}
	}
}

// eventKinds returns the names of the constants of the type track.Kind.
func eventKinds(t *testing.T) (names []string) {
	t.Helper()
	path := filepath.Join("..", "..", "mailstore", "track", "track.go")
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			if name := spec.(*ast.ValueSpec).Names[0].Name; ast.IsExported(name) {
				names = append(names, name)
			}
		}
	}
	return names
}
