package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestRuleNames: every rule that the source names in a step is in the list.
func TestRuleNames(t *testing.T) {
	known, found := RuleNames(), 0
	if !slices.IsSorted(known) || len(slices.Compact(slices.Clone(known))) != len(known) {
		t.Error("the names are not sorted, or one is there twice")
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if name, ok := ruleName(n); ok {
				if found++; !slices.Contains(known, name) {
					t.Errorf("%s: RuleNames lacks %q", file.Name(), name)
				}
			}
			return true
		})
	}
	if found < 60 {
		t.Errorf("only %d names found in the source: the test reads the wrong calls", found)
	}
}

// ruleName returns the name of a rule in a call of step or siteKey, and in an assignment to the
// variables key and rule.
func ruleName(n ast.Node) (name string, ok bool) {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch of := callee(n); {
		case of == "step" && len(n.Args) > 0:
			return literal(n.Args[0])
		case of == "siteKey" && len(n.Args) == 2:
			name, ok = literal(n.Args[1])
			return "sites.smtp." + name, ok
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			id, isName := left.(*ast.Ident)
			if isName && (id.Name == "key" || id.Name == "rule") && len(n.Rhs) == len(n.Lhs) {
				return literal(n.Rhs[i])
			}
		}
	}
	return "", false
}

// callee returns the name of the function or method that is called.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
