cwlVersion: v1.2
class: CommandLineTool
label: Measure the cells of an image
baseCommand: python3
inputs:
  script:
    type: File
    default: {class: File, location: measure.py}
    inputBinding: {position: 1}
  image:
    type: File
    inputBinding: {position: 2}
  cells:
    type: File
    inputBinding: {position: 3}
  original:
    type: File
    inputBinding: {position: 4, valueFrom: $(self.nameroot)}
outputs:
  measures:
    type: File
    outputBinding: {glob: $(inputs.original.nameroot).csv}
