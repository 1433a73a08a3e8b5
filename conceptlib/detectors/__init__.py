"""Detectors: who finds a concept in a picture, and how well.

    detector = load_detector("yolo-icd")                    # conceptlib.detectors.load
    annotations = annotate(dataset, detector)                # conceptlib.detectors.annotate
    evaluation = evaluate_detector(detector, dataset)        # conceptlib.detectors.evaluate
    detector = train_detector("yolo-icd", dataset)           # conceptlib.detectors.train

A vendor is one file in `adapters/`; nothing else in the package knows it by name.
"""
