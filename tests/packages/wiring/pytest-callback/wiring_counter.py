def pytest_runtest_logreport(report):  # logic
    print(report.nodeid)  # logic
