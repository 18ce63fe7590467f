package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loggedDirs are the directories whose Go files write logs.
var loggedDirs = []string{"batch", "upstreams", "caddymodule", "dashboard", "doctor", "internal", "cmd"}

// TestLogMessagesAreConstant checks that a log message is one literal, so that it can be
// searched and alerted on. Values are fields.
func TestLogMessagesAreConstant(t *testing.T) {
	messages := 0
	for _, dir := range loggedDirs {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, arg := range logMessages(parsed) {
				messages++
				if literal, ok := arg.(*ast.BasicLit); !ok || literal.Kind != token.STRING {
					t.Errorf("%s: got a log message that is built, want a constant with fields", files.Position(arg.Pos()))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if messages < 50 {
		t.Errorf("got %d log messages, want those of the whole program", messages)
	}
}

// TestBuiltLogMessagesAreFound shows which calls the check reads.
func TestBuiltLogMessagesAreFound(t *testing.T) {
	const code = `package p
		func f() {
			p.log.Warn("upstream "+state, zap.Error(err))
			l.Logger.Info(message)
			cfg.log().Check(zap.DebugLevel, "constant")
			t.Error(message)
		}`
	parsed, err := parser.ParseFile(token.NewFileSet(), "x.go", code, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(logMessages(parsed)); got != 3 {
		t.Errorf("got %d log messages, want 3", got)
	}
}

// logMessages returns the messages of all calls of a zap logger: of a value whose name is
// log or logger.
func logMessages(file *ast.File) (messages []ast.Expr) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !isLogger(method.X) {
			return true
		}
		switch method.Sel.Name {
		case "Debug", "Info", "Warn", "Error", "DPanic", "Panic", "Fatal":
			if len(call.Args) > 0 {
				messages = append(messages, call.Args[0])
			}
		case "Check":
			if len(call.Args) > 1 {
				messages = append(messages, call.Args[1])
			}
		}
		return true
	})
	return messages
}

func isLogger(e ast.Expr) bool {
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	case *ast.CallExpr:
		return isLogger(e.Fun)
	}
	name = strings.ToLower(name)
	return name == "log" || name == "logger"
}
