import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.tensorflow.framework.DataType;
import org.tensorflow.framework.TensorProto;
import org.tensorflow.framework.TensorShapeProto;
import tensorflow.serving.Model.ModelSpec;
import tensorflow.serving.Predict.PredictRequest;
import tensorflow.serving.PredictionServiceGrpc;

/** Prints the entities of texts: NerClient HOST:PORT MODEL TEXT... */
public final class NerClient {
  public static void main(String[] args) throws InterruptedException {
    List<String> texts = List.of(args).subList(2, args.length);
    ManagedChannel channel = ManagedChannelBuilder.forTarget(args[0]).usePlaintext().build();
    try {
      Map<String, TensorProto> answer =
          PredictionServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(30, TimeUnit.SECONDS)
              .predict(request(args[1], texts))
              .getOutputsMap();
      print(answer, texts.size());
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static PredictRequest request(String model, List<String> texts) {
    TensorProto.Builder tensor =
        TensorProto.newBuilder()
            .setDtype(DataType.DT_STRING)
            .setTensorShape(
                TensorShapeProto.newBuilder()
                    .addDim(TensorShapeProto.Dim.newBuilder().setSize(texts.size())));
    texts.forEach(text -> tensor.addStringVal(ByteString.copyFromUtf8(text)));
    return PredictRequest.newBuilder()
        .setModelSpec(ModelSpec.newBuilder().setName(model).setSignatureName("entities"))
        .putInputs("text", tensor.build())
        .build();
  }

  /** Tables come as flat lists, row by row; `counts` says how much of a row is no padding. */
  private static void print(Map<String, TensorProto> answer, int rows) {
    TensorProto labels = answer.get("labels");
    int width = (int) labels.getTensorShape().getDim(1).getSize();
    for (int row = 0; row < rows; row++) {
      for (int i = row * width; i < row * width + answer.get("counts").getIntVal(row); i++) {
        System.out.printf(
            "%d %s %s %d %d %.3f%n",
            row,
            answer.get("texts").getStringVal(i).toString(StandardCharsets.UTF_8),
            labels.getStringVal(i).toString(StandardCharsets.UTF_8),
            answer.get("starts").getIntVal(i), // in code points: text.offsetByCodePoints(0, start)
            answer.get("ends").getIntVal(i),
            answer.get("scores").getFloatVal(i));
      }
    }
  }
}
